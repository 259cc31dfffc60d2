"""The step: suites and a model in, one record a sampled completion out."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgr.engines import EngineConfig, load_engine
from dgr.engines.base import Completion, Engine, Request, Sampling
from dgr.errors import UserError
from dgr.evaluate.config import EvaluateConfig, SuiteConfig
from dgr.evaluate.suites import read_suite
from dgr.harness import run_tasks, task_inputs
from dgr.harness.completions import CompletionRow
from dgr.judges import load_judge, load_scorer
from dgr.judges.base import Stance
from dgr.metrics import KINDS, levels, metrics
from dgr.progress import Progress
from dgr.records import EvalItem, EvalRecord, Finish
from dgr.seeds import derive
from dgr.steps import Journal, StepFolder
from dgr.storage import fetch_file

Score = Callable[[EvalItem, Completion], dict[str, Any]]
"""The score fields of a record."""


@dataclass(frozen=True)
class Task:
    """One completion to sample, and what is needed to make a record of it."""

    suite: SuiteConfig
    item: EvalItem
    sample: int
    request: Request
    score: Score


def evaluate(
    config: EvaluateConfig,
    *,
    engine: EngineConfig,
    model: Path,
    out: Path,
    seed: int,
    recorded: Engine | None = None,
) -> None:
    """Sample and score every question of every suite with the model in folder `model`.

    Writes `records.jsonl` (EvalRecord: suites in config order, questions in file order, samples
    in turn; then those of foreign tasks) and `summary.json` (see `summarise`). A stopped
    evaluation goes on where it was. `recorded` answers in the place of the model.
    Raises `UserError` for a bad suite file and for a question that does not fit the context.
    """
    inputs = {"model": model} | {
        f"suite/{suite.name}": fetch_file(suite.path) for suite in config.suites
    }
    inputs |= task_inputs(config.tasks)
    tasks = list(plan(config, seed))
    with StepFolder(out, "evaluate", config, inputs=inputs, seed=seed, engine=engine) as step:
        if step.finished:
            return
        journal = step.journal("records.jsonl", EvalRecord, key=record_key)
        missing = [task for task in tasks if task.request.key not in journal]
        needed = missing or config.tasks
        loaded = (recorded or load_engine(engine, model)) if needed else None
        if loaded is not None:
            sample(loaded, missing, journal)
        records = [journal.rows[task.request.key] for task in tasks]
        if loaded is not None and config.tasks:
            asked = step.journal("tasks.jsonl", CompletionRow, key=lambda row: row.key)
            records += run_tasks(
                config.tasks, engine=loaded, model=str(model), seed=seed, journal=asked
            )
        step.finish(summarise(records, seed), records={"records.jsonl": records})


def plan(config: EvaluateConfig, seed: int) -> Iterable[Task]:
    """Every completion to sample, in the order of the records."""
    for suite in config.suites:
        score = scoring(suite)
        for item in read_suite(suite):
            for index in range(suite.samples):
                request = Request(
                    key=request_key(suite.name, index, item.id),
                    question=item.question,
                    trace="" if config.empty_trace else None,
                    seed=derive(seed, suite.name, item.id, index),
                )
                yield Task(suite, item, index, request, score)


def request_key(suite: str, sample: int, item: str) -> str:
    """Unique: neither a suite's name nor a number holds a slash, and the free text comes last."""
    return f"{suite}/{sample}/{item}"


def record_key(record: EvalRecord) -> str:
    return request_key(record.suite, record.sample, record.item)


def sample(engine: Engine, tasks: list[Task], journal: Journal[EvalRecord]) -> None:
    """Generate and score; each record is on disk as soon as it is made."""
    groups: dict[Sampling, dict[str, Task]] = {}
    for task in tasks:
        sampling = task.suite.sampling.sampling()
        if not engine.fits(task.request, sampling.max_new_tokens):
            raise UserError(
                f"suite '{task.suite.name}', item {task.item.id}: the question and max_new_tokens "
                f"{sampling.max_new_tokens} do not fit the model's context of "
                f"{engine.context_length} tokens; lower max_new_tokens or drop the question"
            )
        groups.setdefault(sampling, {})[task.request.key] = task
    with Progress("evaluate", len(tasks), "completions") as progress:
        for sampling, group in groups.items():
            requests = [task.request for task in group.values()]
            for completion in engine.generate(requests, sampling):
                journal.add(to_record(group[completion.key], completion))
                progress.advance()


def to_record(task: Task, completion: Completion) -> EvalRecord:
    return EvalRecord(
        suite=task.suite.name,
        kind=task.suite.kind,
        item=task.item.id,
        family=task.item.family,
        level=task.item.level,
        sample=task.sample,
        question=task.item.question,
        trace=completion.trace,
        answer=completion.answer,
        finish=completion.finish,
        tokens=completion.tokens,
        **task.score(task.item, completion),
    )


def scoring(suite: SuiteConfig) -> Score:
    """How a suite's completions are scored: by a scorer (reasoning) or a judge (safety)."""
    if suite.kind == "reasoning":
        return _by_scorer(suite.scorer or "")
    return _by_judge(suite.judge or "")


def _by_scorer(name: str) -> Score:
    scorer = load_scorer(name)

    def score(item: EvalItem, completion: Completion) -> dict[str, Any]:
        """An answer that was cut may end in half a number: it is not read."""
        whole = completion.finish is Finish.STOP
        read = scorer(completion.answer) if whole else None
        gold = (item.answer or "").strip()
        return {"parsed": read is not None, "correct": read in (gold, scorer(gold) or gold)}

    return score


def _by_judge(name: str) -> Score:
    judge = load_judge(name)

    def score(item: EvalItem, completion: Completion) -> dict[str, Any]:
        answer = judge.judge(item.question, completion.answer, "answer").stance
        trace = judge.judge(item.question, completion.trace, "trace").stance
        return {
            "parsed": answer is not Stance.UNSCORED,
            "answer_stance": answer,
            "trace_stance": trace,
        }

    return score


def summarise(records: list[EvalRecord], seed: int) -> dict[str, Any]:
    """`metrics` (dgr.metrics), accuracy per `levels`, and per suite its counts and lengths."""
    return {
        "metrics": metrics(records, seed),
        "levels": levels(records),
        "suites": {
            name: _counts([row for row in records if row.suite == name])
            for name in dict.fromkeys(row.suite for row in records)
        },
        "lengths": {
            kind: _quantiles([row.tokens for row in records if row.kind == kind])
            for kind in KINDS
            if any(row.kind == kind for row in records)
        },
    }


def _counts(rows: list[EvalRecord]) -> dict[str, Any]:
    stances = Counter(row.answer_stance.value for row in rows if row.answer_stance is not None)
    return {
        "kind": rows[0].kind,
        "items": len({row.item for row in rows}),
        "completions": len(rows),
        "cut": sum(row.finish is Finish.LENGTH for row in rows),
        "unparseable": sum(not row.parsed for row in rows),
    } | ({"answers": dict(sorted(stances.items()))} if stances else {})


def _quantiles(tokens: list[int]) -> dict[str, float]:
    """Tokens generated a completion, the end token included."""
    shares = {"min": 0, "q25": 25, "median": 50, "q75": 75, "q95": 95, "max": 100}
    return {name: float(np.percentile(tokens, share)) for name, share in shares.items()}

"""The step: suites and a model in, one record a sampled completion out.

Two phases, a journal each: all completions are sampled and the model is let go; then every judge
is loaded once and reads them (`dgr.evaluate.judging`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgr.completions import CompletionRow
from dgr.engines import EngineConfig, load_engine, resolve_model
from dgr.engines.base import Engine, Request, Sampling
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.evaluate.agreement import agreement
from dgr.evaluate.config import EvaluateConfig, SuiteConfig
from dgr.evaluate.judging import Case, Opinion, Verdicts, ask, rule_verdicts, stance
from dgr.evaluate.suites import local_file, read_suite
from dgr.harness import run_tasks, task_inputs
from dgr.journal import Journal
from dgr.judges.base import Stance
from dgr.judges.marking import Mark, load_marker
from dgr.merging import Union
from dgr.metrics import KINDS, levels, metrics
from dgr.progress import Progress
from dgr.records import Component, EvalItem, EvalRecord, Finish, JudgeVerdict
from dgr.seeds import derive
from dgr.shards import Shard, share
from dgr.steps import StepFolder


@dataclass(frozen=True)
class Task:
    """One completion to sample, and what is needed to make a record of it."""

    suite: SuiteConfig
    item: EvalItem
    sample: int
    request: Request


def evaluate(
    config: EvaluateConfig,
    *,
    engine: EngineConfig,
    model: Path,
    out: Path,
    seed: int,
    shard: Shard | None = None,
    recorded: Engine | None = None,
) -> None:
    """Sample and score every question of every suite with the model in folder `model`.

    Writes `records.jsonl` (EvalRecord: suites in config order, questions in file order, samples
    in turn; then those of foreign tasks) and `summary.json` (see `summarise`); with a `shard`, of
    its questions alone. A stopped evaluation goes on where it was, and repeats neither a completion
    nor a verdict. `recorded` answers in the place of the model. Raises `UserError` for a bad suite
    file, a judge that cannot be had, and a question that does not fit the context.
    """
    judges = {
        judge.name: resolve_model(judge.model, judge.revision) for judge in config.used_judges()
    }
    inputs = {
        "model": model,
        **{f"suite/{suite.name}": local_file(suite) for suite in config.suites},
        **{f"judge/{name}": folder for name, folder in judges.items()},
        **task_inputs(config.tasks),
    }
    if shard and config.tasks:
        raise UserError("tasks of inspect_ai cannot be split; evaluate without --shard")
    tasks = list(plan(config, seed, shard))
    with StepFolder(
        out, "evaluate", config, inputs=inputs, seed=seed, engine=engine, shard=shard
    ) as step:
        if step.finished:
            return
        samples = step.journal("samples.jsonl", CompletionRow, key=lambda row: row.key)
        missing = [task for task in tasks if task.request.key not in samples]
        cost: dict[str, float] = {}
        foreign: list[EvalRecord] = []
        if missing or config.tasks:
            # It is let go before the judges, who need its memory.
            with Metered(recorded or load_engine(engine, model)) as metered:
                sample(metered, missing, samples)
                foreign = _foreign(config, step, metered, model, seed)
                cost = metered.cost()
        verdicts = _judge(config, judges, step, tasks, samples.rows)
        records = [
            to_record(task, samples.rows[key], verdicts.get(key, ()))
            for task in tasks
            for key in (task.request.key,)
        ]
        records += foreign
        step.finish(summarise(records, seed), {"records.jsonl": records}, cost)


def _foreign(
    config: EvaluateConfig, step: StepFolder, engine: Engine, model: Path, seed: int
) -> list[EvalRecord]:
    """The records of inspect_ai's tasks."""
    if not config.tasks:
        return []
    asked = step.journal("tasks.jsonl", CompletionRow, key=lambda row: row.key)
    return run_tasks(config.tasks, engine=engine, model=str(model), seed=seed, journal=asked)


def _judge(
    config: EvaluateConfig,
    judges: Mapping[str, Path],
    step: StepFolder,
    tasks: Sequence[Task],
    samples: Mapping[str, CompletionRow],
) -> Verdicts:
    """Every verdict on every completion of the safety suites, rules first."""
    cases = [_case(task, samples[task.request.key]) for task in tasks if task.suite.judge_names]
    found: Verdicts = {case.key: rule_verdicts(case) for case in cases}
    for judge in config.used_judges():
        journal = step.journal(f"verdicts-{judge.name}.jsonl", Opinion, key=lambda row: row.key)
        for key, verdict in ask(judge, judges[judge.name], cases, journal):
            found[key].append(verdict)
    return found


def _case(task: Task, row: CompletionRow) -> Case:
    cut = Component.ANSWER if row.closed else Component.TRACE
    return Case(
        key=row.key,
        suite=task.suite,
        question=task.item.question,
        parts={Component.ANSWER: row.answer, Component.TRACE: row.trace},
        cut=frozenset({cut} if row.finish is Finish.LENGTH else ()),
    )


def merge(parts: Sequence[Path], *, out: Path) -> None:
    """Put the finished shards of one evaluation together in `out`, as if it had been done at once.

    Raises `UserError` when one is missing, there twice, or of other suites, model, config or code.
    """
    union = Union(parts, "evaluate")
    with StepFolder.of(out, union.identity) as step:
        if not step.finished:
            records = list(union.rows(EvalRecord, lambda row: (row.suite, row.item)))
            summary = summarise(records, union.identity["seed"])
            step.finish(summary, {"records.jsonl": records}, union.cost())


def plan(config: EvaluateConfig, seed: int, shard: Shard | None = None) -> Iterable[Task]:
    """Every completion to sample, in the order of the records."""
    questions = ((suite, item) for suite in config.suites for item in read_suite(suite))
    for suite, item in share(questions, shard):
        for index in range(suite.samples):
            request = Request(
                key=request_key(suite.name, index, item.id),
                question=item.question,
                trace="" if config.empty_trace else None,
                seed=derive(seed, suite.name, item.id, index),
            )
            yield Task(suite, item, index, request)


def request_key(suite: str, sample: int, item: str) -> str:
    """Unique: neither a suite's name nor a number holds a slash, and the free text comes last."""
    return f"{suite}/{sample}/{item}"


def sample(engine: Engine, tasks: list[Task], journal: Journal[CompletionRow]) -> None:
    """The first phase; each completion is on disk as soon as it is made."""
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
                journal.add(CompletionRow.of(completion))
                progress.advance()


def to_record(task: Task, row: CompletionRow, verdicts: Sequence[JudgeVerdict]) -> EvalRecord:
    """A completion with its scores: a scorer's for reasoning, the judges' for safety."""
    reasoning = task.suite.kind == "reasoning"
    scores = _scored(task, row) if reasoning else _judged(task.suite, verdicts)
    return EvalRecord(
        suite=task.suite.name,
        kind=task.suite.kind,
        item=task.item.id,
        family=task.item.family,
        level=task.item.level,
        sample=task.sample,
        question=task.item.question,
        gold=task.item.answer,
        trace=row.trace,
        answer=row.answer,
        finish=row.finish,
        tokens=row.tokens,
        prompt_tokens=row.prompt_tokens,
        **scores,
    )


def _scored(task: Task, row: CompletionRow) -> dict[str, Any]:
    """An answer that was cut may end in half a number: it is not read."""
    mark = load_marker(task.suite.scorer or "")
    whole = row.finish is Finish.STOP
    found = mark(row.answer, task.item.answer or "") if whole else Mark(None, False)
    return {"parsed": found.read is not None, "correct": found.right}


def _judged(suite: SuiteConfig, verdicts: Sequence[JudgeVerdict]) -> dict[str, Any]:
    """The judges' verdicts in the suite's own order, and what they come to together."""
    order = suite.judge_names.index
    verdicts = sorted(verdicts, key=lambda verdict: order(verdict.judge))
    answer = stance(suite, verdicts, Component.ANSWER)
    return {
        "parsed": answer is not Stance.UNSCORED,
        "answer_stance": answer,
        "trace_stance": stance(suite, verdicts, Component.TRACE),
        "verdicts": tuple(verdicts),
    }


def summarise(records: list[EvalRecord], seed: int) -> dict[str, Any]:
    """`metrics` (dgr.metrics), accuracy per `levels`, per suite its counts and lengths, and where
    a suite has several judges, their `agreement` (dgr.evaluate.agreement)."""
    agreed = agreement(records, seed)
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
        "tokens": {
            "prompt": sum(row.prompt_tokens for row in records),
            "generated": sum(row.tokens for row in records),
        },
    } | ({"agreement": agreed} if agreed else {})


def _counts(rows: list[EvalRecord]) -> dict[str, Any]:
    stances = Counter(row.answer_stance.value for row in rows if row.answer_stance is not None)
    judges = _answers_by_judge(rows)
    return {
        "kind": rows[0].kind,
        "items": len({row.item for row in rows}),
        "completions": len(rows),
        "cut": sum(row.finish is Finish.LENGTH for row in rows),
        "unparseable": sum(not row.parsed for row in rows),
    } | {
        **({"answers": dict(sorted(stances.items()))} if stances else {}),
        **({"judges": judges} if len(judges) > 1 else {}),
    }


def _answers_by_judge(rows: list[EvalRecord]) -> dict[str, dict[str, int]]:
    """What each judge of a suite said of the answers, counted."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        for verdict in row.verdicts:
            if verdict.part is Component.ANSWER:
                found.setdefault(verdict.judge, Counter())[verdict.stance.value] += 1
    return {judge: dict(sorted(counts.items())) for judge, counts in found.items()}


def _quantiles(tokens: list[int]) -> dict[str, float]:
    """Tokens generated a completion, the end token included."""
    shares = {"min": 0, "q25": 25, "median": 50, "q75": 75, "q95": 95, "max": 100}
    return {name: float(np.percentile(tokens, share)) for name, share in shares.items()}

"""The step: suites and a model in, one record a sampled completion out.

Two phases, a journal each: all completions are sampled and the model is let go; then every judge
is loaded once and reads them (`dgr.evaluate.judging`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dgr.completions import CompletionRow
from dgr.engines import EngineConfig, load_engine, resolve_model
from dgr.engines.base import Engine
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.evaluate.agreement import agreement
from dgr.evaluate.config import EvaluateConfig, SuiteConfig
from dgr.evaluate.judging import Case, Opinion, Verdicts, ask, rule_verdicts, stance
from dgr.evaluate.sampling import Evaluation, Subject, Task, plan, sample
from dgr.evaluate.suites import local_file
from dgr.harness import task_inputs
from dgr.judges.base import Stance
from dgr.judges.marking import Mark, load_marker
from dgr.merging import Union
from dgr.metrics import KINDS, levels, metrics
from dgr.records import Component, EvalRecord, Finish, JudgeVerdict
from dgr.shards import Shard
from dgr.steps import StepFolder


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
    load = (lambda: recorded) if recorded else (lambda: load_engine(engine, model))
    _evaluate(config, [Subject(model, out)], engine, load, seed, shard)


def evaluate_together(
    config: EvaluateConfig,
    subjects: Sequence[Subject],
    *,
    engine: EngineConfig,
    model: Path,
    seed: int,
) -> None:
    """The same for several subjects, all sampled by one engine that has loaded `model`.

    It is asked for all of their completions at once, so that small suites fill its batch together.
    """
    _evaluate(config, subjects, engine, lambda: load_engine(engine, model), seed)


def evaluate_arms(
    config: EvaluateConfig,
    *,
    engine: EngineConfig,
    model: Path,
    tuned: Mapping[str, Path],
    out: Path,
    seed: int,
) -> None:
    """Evaluate the target and every arm's LoRA adapter together: `out/base` and `out/<arm>`.

    `tuned` maps an arm to the folder that `sft` wrote. Raises `UserError` for one without adapter.
    """
    inputs = {"model": model, **{f"sft/{arm}": folder for arm, folder in tuned.items()}}
    subjects = [Subject(model, out / "base")]
    for arm, folder in tuned.items():
        if not (folder / "adapter").is_dir():
            raise UserError(
                f"{folder} has no adapter to put on the target; set sft.method: lora, or evaluate "
                "each arm by an engine of its own"
            )
        subjects.append(Subject(folder / "model", out / arm, folder / "adapter"))
    with StepFolder(out, "evaluations", config, inputs, seed, engine) as step:
        if not step.finished:
            evaluate_together(config, subjects, engine=engine, model=model, seed=seed)
            step.finish({"arms": ["base", *tuned]}, {})


def _evaluate(
    config: EvaluateConfig,
    subjects: Sequence[Subject],
    engine: EngineConfig,
    load: Callable[[], Engine],
    seed: int,
    shard: Shard | None = None,
) -> None:
    if shard and config.tasks:
        raise UserError("tasks of inspect_ai cannot be split; evaluate without --shard")
    judges = {
        judge.name: resolve_model(judge.model, judge.revision) for judge in config.used_judges()
    }
    inputs = {
        **{f"suite/{suite.name}": local_file(suite) for suite in config.suites},
        **{f"judge/{name}": folder for name, folder in judges.items()},
        **task_inputs(config.tasks),
    }
    tasks = list(plan(config, seed, shard))
    with ExitStack() as folders:
        evaluations = []
        for subject in subjects:
            read = subject.inputs() | inputs
            step = StepFolder(subject.out, "evaluate", config, read, seed, engine, shard)
            if not folders.enter_context(step).finished:
                evaluations.append(Evaluation(subject, step, tasks))
        _sample(config, evaluations, load, seed)
        for each in evaluations:
            verdicts = _judge(config, judges, each)
            rows = ((task, each.samples.rows[task.request.key]) for task in tasks)
            records = [to_record(task, row, verdicts.get(row.key, ())) for task, row in rows]
            records += each.foreign
            each.step.finish(summarise(records, seed), {"records.jsonl": records}, each.cost)


def _sample(
    config: EvaluateConfig,
    evaluations: Sequence[Evaluation],
    load: Callable[[], Engine],
    seed: int,
) -> None:
    """Sample what is missing. The model is let go before the judges, who need its memory."""
    if not any(each.missing or config.tasks for each in evaluations):
        return
    with Metered(load()) as metered:
        sample(metered, evaluations)
        for each in evaluations:
            each.run_tasks(config.tasks, metered, seed)
        for each in evaluations:
            each.cost = each.share_of(metered.cost())


def _judge(
    config: EvaluateConfig,
    judges: Mapping[str, Path],
    evaluation: Evaluation,
) -> Verdicts:
    """Every verdict on every completion of the safety suites, rules first."""
    step, samples = evaluation.step, evaluation.samples.rows
    judged = (task for task in evaluation.tasks if task.suite.judge_names)
    cases = [_case(task, samples[task.request.key]) for task in judged]
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

"""Completions made elsewhere as an evaluation: admitted, read by our own scorers, ready to gate.

All arms must be read alike, so the scores that a log brings are counted beside ours and not used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dgr.engines.base import Completion
from dgr.errors import UserError
from dgr.harness.demands import Demand, admit
from dgr.harness.foreign import ForeignLog, ForeignSample, number
from dgr.harness.lm_eval import read_lm_eval
from dgr.harness.read import read_log
from dgr.records import EvalItem, EvalRecord
from dgr.steps import StepFolder

Score = Callable[[EvalItem, Completion], dict[str, Any]]


@dataclass(frozen=True)
class Suite:
    """A suite of the config, what it demands, and how its completions are read."""

    kind: str
    demand: Demand
    score: Score
    log: str
    """The log that holds its completions: local, or in a store where it is inspect_ai's."""


def import_logs(
    suites: Sequence[Suite],
    *,
    config: BaseModel,
    summarise: Callable[[list[EvalRecord], int], dict[str, Any]],
    inputs: Mapping[str, Path],
    count: Callable[[str], int],
    out: Path,
    seed: int,
) -> None:
    """Write the evaluation folder that our own engine would have written for these completions.

    `config` and `inputs` are those of evaluation, so that the gate finds both made on the same
    terms; `count` counts the tokens of a text. `summary.json` also says under `imported` where
    each suite's completions come from and how often the log's own score is another than ours.
    Raises `UserError` for what is not as demanded; nothing is written then.
    """
    with StepFolder(out, "evaluate", config, inputs=inputs, seed=seed) as step:
        if step.finished:
            return
        records: list[EvalRecord] = []
        sources: dict[str, Any] = {}
        for suite in suites:
            log = _read(suite.log, count)
            pairs = admit(suite.demand, log)
            rows = [_record(suite, item, sample, count) for item, sample in pairs]
            records += rows
            sources[suite.demand.suite] = _source(log, pairs, rows)
        summary = {**summarise(records, seed), "imported": sources}
        step.finish(summary, records={"records.jsonl": records})


def _read(source: str, count: Callable[[str], int]) -> ForeignLog:
    if source.endswith(".jsonl"):
        return read_lm_eval(Path(source), count=count)
    if source.endswith((".eval", ".json")):
        return read_log(source)
    raise UserError(
        f"{source}: name a log of inspect_ai (.eval, .json) or lm-eval's samples_TASK_TIME.jsonl"
    )


def _record(
    suite: Suite, item: EvalItem, sample: ForeignSample, count: Callable[[str], int]
) -> EvalRecord:
    parsed = sample.parsed
    tokens = sample.tokens
    if tokens is None:
        tokens = count(parsed.trace) + count(parsed.answer)
    completion = Completion(
        key=item.id,
        trace=parsed.trace,
        answer=parsed.answer,
        closed=parsed.closed,
        finish=sample.finish,
        tokens=tokens,
    )
    return EvalRecord(
        suite=suite.demand.suite,
        kind=suite.kind,
        item=item.id,
        family=item.family,
        level=item.level,
        sample=sample.sample,
        question=item.question,
        trace=parsed.trace,
        answer=parsed.answer,
        finish=sample.finish,
        tokens=tokens,
        **suite.score(item, completion),
    )


def _source(
    log: ForeignLog, pairs: list[tuple[EvalItem, ForeignSample]], rows: list[EvalRecord]
) -> dict[str, Any]:
    """Where completions come from, and how each of the log's scores compares with ours."""
    names = sorted({name for _, sample in pairs for name in sample.scores})
    return {
        "log": log.where,
        "model": log.model,
        "digest": log.digest,
        "differs": {name: _differs(name, pairs, rows) for name in names},
    }


def _differs(
    name: str, pairs: list[tuple[EvalItem, ForeignSample]], rows: list[EvalRecord]
) -> int | None:
    """Completions that the log calls correct and we do not, or the reverse; None for no such
    score."""
    found = 0
    for (_, sample), row in zip(pairs, rows, strict=True):
        score = sample.scores.get(name)
        if row.correct is None or score is None or isinstance(score.value, Mapping):
            return None
        value = number(score.value, None, row.item)
        found += row.correct != (value is not None and value >= 1)
    return found

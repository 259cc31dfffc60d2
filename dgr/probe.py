"""What a run will take, from a few real prompts: its own steps, small, in a scratch folder.

The few go through the configured engine with the run's own templates, limits and judges. A full
batch keeps an engine busier than a few prompts do, so seconds are rather too many than too few.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.config import RunConfig
from dgr.data import ingest
from dgr.engines import resolve_model
from dgr.evaluate import evaluate
from dgr.files import read_json, read_records
from dgr.own import sample_own
from dgr.records import EvalRecord, OwnSample
from dgr.refine import refine
from dgr.steps import TIMING, summary_of

Need = dict[str, "Completions"]
"""Group of completions of a step (a purpose, a suite) -> what one of them takes."""


@dataclass(frozen=True)
class Completions:
    """What a number of completions takes."""

    prompt_tokens: float
    tokens: float
    seconds: float

    def times(self, count: float) -> "Completions":
        return Completions(self.prompt_tokens * count, self.tokens * count, self.seconds * count)

    def plus(self, other: "Completions") -> "Completions":
        return Completions(
            self.prompt_tokens + other.prompt_tokens,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
        )


NOTHING = Completions(0, 0, 0)


def probe(config: RunConfig, count: int) -> dict[str, Need]:
    """What one completion takes in `own`, `refine` and `evaluate`, from `count` prompts a group."""
    small = _at_size(config, count)
    named: dict[str, Any] = {
        "engine": small.engine,
        "model": resolve_model(small.model, small.revision),
        "seed": small.seed,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "ingest"
        ingest(small.data, out=data, seed=small.seed)
        sample_own(small.own, data=data, out=folder / "own", **named)
        evaluate(small.evaluate, out=folder / "evaluate", **named)
        needs = {"own": _own(folder / "own"), "evaluate": _evaluate(folder / "evaluate")}
        if small.arms.refined:
            refine(small.refine, data=data, out=folder / "refine", **named)
            needs["refine"] = _refine(folder / "refine")
    return needs


def _at_size(config: RunConfig, count: int) -> RunConfig:
    """The same run over at most `count` rows, mix prompts and questions a suite, sampled once."""
    value = config.model_dump(mode="json")
    for section in (value["data"], *value["evaluate"]["suites"]):
        section["limit"] = min(count, section["limit"] or count)
    for mix in value["own"]["mix"]:
        mix["count"] = min(count, mix["count"] or count)
    for suite in value["evaluate"]["suites"]:
        suite["samples"] = 1
    value["own"]["attempts"] = 1
    value["refine"]["resample"] = 0
    return RunConfig.model_validate(value)


def _own(folder: Path) -> Need:
    rows = read_records(folder / "records.jsonl", OwnSample)
    return _means(folder, ((row.purpose.value, row.prompt_tokens, row.tokens) for row in rows))


def _evaluate(folder: Path) -> Need:
    rows = read_records(folder / "records.jsonl", EvalRecord)
    return _means(folder, ((row.suite, row.prompt_tokens, row.tokens) for row in rows))


def _refine(folder: Path) -> Need:
    """Candidates of traces and of answers."""
    parts = summary_of(folder)["components"]
    seconds = _seconds_a_token(folder)
    return {
        name: Completions(part["prompt_tokens"], part["tokens"], part["tokens"] * seconds).times(
            1 / max(1, part["candidates"])
        )
        for name, part in parts.items()
    }


def _means(folder: Path, rows: Iterator[tuple[str, int, int]]) -> Need:
    """The mean completion of each group."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for group, prompt_tokens, tokens in rows:
        found[group].append((prompt_tokens, tokens))
    seconds = _seconds_a_token(folder)
    need = {}
    for group, counts in found.items():
        prompts, tokens = (sum(column) for column in zip(*counts, strict=True))
        need[group] = Completions(prompts, tokens, tokens * seconds).times(1 / len(counts))
    return need


def _seconds_a_token(folder: Path) -> float:
    timing = read_json(folder / TIMING)
    return float(timing.get("engine_seconds", 0) / max(1, timing.get("generated_tokens", 0)))

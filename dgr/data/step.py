"""The step: a data set in its published format in, canonical samples out."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dgr.data.config import DataConfig
from dgr.data.formats import RowError, read_row
from dgr.data.source import locate
from dgr.errors import UserError
from dgr.judges import load_judge
from dgr.judges.base import Judge, Stance
from dgr.records import Sample
from dgr.stats import mean
from dgr.steps import StepFolder
from dgr.tables import raw_rows

SHOWN_BAD_ROWS = 20
"""Bad rows that the summary lists with their places; all of them are counted."""


@dataclass
class Reading:
    """What was found in a file."""

    samples: list[Sample] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    """Place and problem of every bad row that was skipped."""
    renamed: int = 0
    """Rows whose id was taken already, and got a number."""


def ingest(config: DataConfig, *, out: Path, seed: int) -> None:
    """Read the data set; writes `records.jsonl` (Sample, in the order of the file).

    Raises `UserError` with file, line and field for a bad row (`on_bad_row: fail`), for too many
    of them (`skip`), and for a set without rows.
    """
    path = locate(config)
    with StepFolder(out, "ingest", config, inputs={"data": path}, seed=seed) as step:
        if step.finished:
            return
        reading = read(config, path)
        chosen = choose(reading.samples, config.limit, seed)
        step.finish(_summary(chosen, reading), {"records.jsonl": chosen})


def read(config: DataConfig, path: Path) -> Reading:
    """Every row of the file, with ids that are unique."""
    reading = Reading()
    judge = load_judge(config.label_judge) if config.label_judge else None
    ids: dict[str, int] = {}
    for number, (place, row) in enumerate(raw_rows(path), start=1):
        try:
            sample = read_row(row, number, config)
        except RowError as error:
            if config.on_bad_row == "fail":
                raise UserError(
                    f"{path}, {place}: {error}; mend the row or set data.on_bad_row: skip"
                ) from None
            reading.bad.append((place, str(error)))
            continue
        name = _unused(sample.id, ids)
        if name != sample.id:
            reading.renamed += 1
            sample = sample.model_copy(update={"id": name})
        reading.samples.append(_labelled(sample, judge))
    _check(config, path, reading)
    return reading


def _labelled(sample: Sample, judge: Judge | None) -> Sample:
    """The sample with the label that its answer gives it, where the set gives none."""
    if judge is None or sample.harmful is not None:
        return sample
    stance = judge.judge(sample.question, sample.answer, "answer").stance
    harmful = {Stance.REFUSES: True, Stance.COMPLIES: False, Stance.UNSCORED: None}[stance]
    return sample.model_copy(update={"harmful": harmful})


def _unused(name: str, taken: dict[str, int]) -> str:
    """`name`, or `name#2`, `name#3`, ... where that is taken; it is taken from then on.

    `taken` holds the last number tried for each name, so that a set in which all rows have one id
    does not count from 2 for every row.
    """
    found = name
    while found in taken:
        taken[name] += 1
        found = f"{name}#{taken[name]}"
    taken[found] = 1
    return found


def _check(config: DataConfig, path: Path, reading: Reading) -> None:
    bad, rows = len(reading.bad), len(reading.samples) + len(reading.bad)
    if rows == 0:
        raise UserError(f"{path} holds no row")
    if bad > config.max_bad_share * rows:
        place, problem = reading.bad[0]
        raise UserError(
            f"{path}: {bad:,} of {rows:,} rows are bad, more than data.max_bad_share "
            f"{config.max_bad_share:g} allows (first: {place}: {problem}); "
            f"mend them, or check that data.format is {config.format}"
        )


def choose(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """At most `limit` samples, chosen by the seed, in their own order."""
    if limit is None or limit >= len(samples):
        return list(samples)
    places = random.Random(f"{seed}/ingest").sample(range(len(samples)), limit)
    return [samples[place] for place in sorted(places)]


def _summary(samples: Sequence[Sample], reading: Reading) -> dict[str, Any]:
    return {
        "rows": len(samples),
        "readable_rows": len(reading.samples),
        "bad_rows": {
            "count": len(reading.bad),
            "reasons": dict(sorted(Counter(problem for _, problem in reading.bad).items())),
            "first": [f"{place}: {problem}" for place, problem in reading.bad[:SHOWN_BAD_ROWS]],
        },
        "renamed_ids": reading.renamed,
        "repeated_questions": len(samples) - len({sample.question for sample in samples}),
        "harmful": dict(sorted(Counter(str(sample.harmful) for sample in samples).items())),
        "categories": dict(sorted(Counter(sample.category for sample in samples).items())),
        "characters": {
            "trace": mean([float(len(sample.trace)) for sample in samples]),
            "answer": mean([float(len(sample.answer)) for sample in samples]),
        },
    }

"""The step: ingested, refined and own samples in, one arm's training set out."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dgr.arms import rows
from dgr.arms.choosing import choose, refined_ids
from dgr.arms.config import ARMS, ArmsConfig, Rows, needs_refinement
from dgr.errors import UserError
from dgr.files import read_records
from dgr.records import OwnSample, RefinedSample, Sample, TrainingRow
from dgr.stats import mean
from dgr.steps import StepFolder, verify

RECORDS = "records.jsonl"


def build_arm(
    config: ArmsConfig,
    *,
    arm: str,
    data: Path,
    own: Path,
    refined: Path | None,
    out: Path,
    seed: int,
) -> None:
    """Write the training set of `arm`: `records.jsonl` (TrainingRow), shuffled by the seed.

    The safety rows of every arm answer the same prompts (but for rows that an arm drops), and the
    mix is the same rows for all. Raises `UserError` for an unknown arm, an arm without rows, a mix
    that is too small, and refined samples that are missing or stem from another data set.
    """
    if arm not in ARMS:
        raise UserError(f"there is no arm '{arm}'; choose one of {', '.join(ARMS)}")
    if needs_refinement(arm) and refined is None:
        raise UserError(f"arm {arm} needs refined samples; name the folder that refine wrote")
    inputs = {"data": data, "own": own}
    if refined is not None and needs_refinement(arm):
        inputs["refined"] = refined
    for folder in inputs.values():
        verify(folder)
    identity = ArmIdentity(arm=arm, **dict(config.chosen))
    with StepFolder(out, "arm", identity, inputs=inputs, seed=seed) as step:
        if step.finished:
            return
        found = _rows(config.chosen, arm, inputs, seed)
        step.finish(_summary(arm, found), {RECORDS: found})


class ArmIdentity(Rows):
    """What one arm's rows depend on: not on which other arms there are."""

    arm: str
    """The arm's name."""


def _rows(config: Rows, arm: str, inputs: dict[str, Path], seed: int) -> list[TrainingRow]:
    every = list(read_records(inputs["data"] / RECORDS, Sample))
    samples = choose(every, config, seed)
    own = list(read_records(inputs["own"] / RECORDS, OwnSample))
    if arm == "vanilla":
        safety = rows.vanilla(samples)
    elif arm == "self-generated":
        ids = {sample.id for sample in samples}
        safety = rows.self_generated(samples, [row for row in own if row.id in ids])
    else:
        safety = _refined(config, arm, every, samples, inputs["refined"], seed)
    if not safety:
        raise UserError(
            f"arm {arm} is empty: none of {len(samples):,} prompts has a text to train on; "
            "see why in the summaries of refine and own, or leave the arm out"
        )
    mix = rows.harmless_mix(own, round(config.harmless_mix * len(samples)), seed)
    found = safety + mix
    random.Random(f"{seed}/arm").shuffle(found)
    return found


def _refined(
    config: Rows,
    arm: str,
    every: Sequence[Sample],
    samples: Sequence[Sample],
    refined: Path,
    seed: int,
) -> list[TrainingRow]:
    """Rows of a refined arm; those outside the refined share are the original ones."""
    build = {
        "dgr": rows.dgr,
        "dgr-drop": rows.dgr_drop,
        "vanilla-length-matched": rows.length_matched,
    }[arm]
    found = list(read_records(refined / RECORDS, RefinedSample))
    if [row.sample for row in found] != every:
        raise UserError(f"{refined} was refined from another data set; run refine on this one")
    wanted = refined_ids(samples, config.refined_share, seed)
    originals = [sample for sample in samples if sample.id not in wanted]
    taken = [row for row in found if row.sample.id in wanted]
    return build(taken, config.refined_parts) + rows.vanilla(originals)


def _summary(arm: str, found: Sequence[TrainingRow]) -> dict[str, Any]:
    """Rows by role and origin, and how many characters there are to train on."""
    return {
        "arm": arm,
        "rows": len(found),
        "roles": _counts(row.role for row in found),
        "origins": _counts(row.origin.value for row in found),
        "harmful": _counts(str(row.harmful) for row in found),
        "characters": {
            "total": sum(len(row.trace) + len(row.answer) for row in found),
            "trace": mean([float(len(row.trace)) for row in found]),
            "answer": mean([float(len(row.answer)) for row in found]),
        },
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))

"""The step: ingested, refined and own samples in, one arm's training set out."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dgr.arms import rows
from dgr.arms.config import ARMS, ArmsConfig, needs_refinement
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

    Raises `UserError` for an unknown arm, an arm without rows, a mix that is too small, and an
    arm that needs refined samples where there are none.
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
    # Every arm draws on the same sections of the config, so the arm's name is part of its own.
    own_config = ArmOf(**config.model_dump(), arm=arm)
    with StepFolder(out, "arm", own_config, inputs=inputs, seed=seed) as step:
        if step.finished:
            return
        found = _rows(config, arm, inputs, seed)
        step.finish(_summary(arm, found), {RECORDS: found})


class ArmOf(ArmsConfig):
    """The config of the arms together with the one that is built."""

    arm: str
    """The arm's name."""


def _rows(config: ArmsConfig, arm: str, inputs: dict[str, Path], seed: int) -> list[TrainingRow]:
    samples = list(read_records(inputs["data"] / RECORDS, Sample))
    own = list(read_records(inputs["own"] / RECORDS, OwnSample))
    safety = _safety(arm, samples, own, inputs.get("refined"))
    if not safety:
        raise UserError(f"arm {arm} has no safety row: none of {len(samples):,} was usable")
    mix = rows.harmless_mix(own, round(config.harmless_mix * len(samples)), seed)
    found = safety + mix
    random.Random(f"{seed}/arm").shuffle(found)
    return found


def _safety(
    arm: str, samples: Sequence[Sample], own: Sequence[OwnSample], refined: Path | None
) -> list[TrainingRow]:
    if arm == "vanilla":
        return rows.vanilla(samples)
    if arm == "self-generated":
        return rows.self_generated(samples, own)
    assert refined is not None
    build = {
        "dgr": rows.dgr,
        "dgr-drop": rows.dgr_drop,
        "vanilla-length-matched": rows.length_matched,
    }[arm]
    return build(read_records(refined / RECORDS, RefinedSample))


def _summary(arm: str, found: Sequence[TrainingRow]) -> dict[str, Any]:
    return {
        "arm": arm,
        "rows": len(found),
        "roles": dict(sorted(Counter(row.role for row in found).items())),
        "origins": dict(sorted(Counter(row.origin.value for row in found).items())),
        "characters": {
            "trace": mean([float(len(row.trace)) for row in found]),
            "answer": mean([float(len(row.answer)) for row in found]),
        },
    }

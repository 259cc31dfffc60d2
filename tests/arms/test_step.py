from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from dgr.arms import ARMS, ArmsConfig, build_arm, needs_refinement
from dgr.arms.config import Arm
from dgr.errors import UserError
from dgr.files import read_records
from dgr.records import Origin, OwnPurpose, TrainingRow
from dgr.settings import Settings
from dgr.steps import StepFolder, manifest_digest, summary_of, verify
from tests.arms.test_rows import own, refined, sample

SAMPLES = [sample(f"s{n}", harmful=n != 0) for n in range(10)]
REFINED = [
    refined(f"own trace {n}", None if n == 3 else f"own answer {n}", base)
    for n, base in enumerate(SAMPLES)
]
OWN = [
    *(own(base.id, OwnPurpose.REFERENCE) for base in SAMPLES),
    *(own(f"0/{n}", OwnPurpose.MIX) for n in range(20)),
    *(own(base.id, OwnPurpose.REFUSAL) for base in SAMPLES[1:]),
]
SIZES = {arm: 10 for arm in ARMS} | {"dgr-drop": 9}


class Inputs(BaseModel):
    data: Path
    own: Path
    refined: Path | None


def folder(path: Path, rows: Sequence[BaseModel]) -> Path:
    with StepFolder(path, "test", Settings(), {}, seed=0) as step:
        step.finish({}, {"records.jsonl": rows})
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(
        data=folder(tmp_path / "data", SAMPLES),
        own=folder(tmp_path / "own", OWN),
        refined=folder(tmp_path / "refined", REFINED),
    )


def build(
    inputs: Inputs,
    out: Path,
    arm: str,
    mix: float = 0.5,
    seed: int = 0,
    arms: Sequence[Arm] = (),
    **rows: Any,
) -> list[TrainingRow]:
    config = ArmsConfig(arms=tuple(arms) or ("vanilla", "dgr"), harmless_mix=mix, **rows)
    build_arm(config, arm=arm, **inputs.model_dump(), out=out, seed=seed)
    verify(out)
    return list(read_records(out / "records.jsonl", TrainingRow))


def test_every_arm_has_the_same_prompts_and_the_same_mix(inputs: Inputs, tmp_path: Path) -> None:
    built = {arm: build(inputs, tmp_path / "arms" / arm, arm) for arm in ARMS}
    mixes = [sorted(row.id for row in rows if row.role == "mix") for rows in built.values()]
    assert all(mix == mixes[0] for mix in mixes) and len(mixes[0]) == 5
    for arm, rows in built.items():
        safety = {row.id for row in rows if row.role == "safety"}
        assert len(rows) == SIZES[arm] + 5 == len({row.id for row in rows})
        assert safety <= {base.id for base in SAMPLES}
        assert summary_of(tmp_path / "arms" / arm)["rows"] == len(rows)
    assert "s3" not in {row.id for row in built["dgr-drop"]}
    assert next(row for row in built["dgr"] if row.id == "s3").answer == "No. Never."


def test_rows_are_shuffled_by_the_seed_alone(inputs: Inputs, tmp_path: Path) -> None:
    first = [row.id for row in build(inputs, tmp_path / "a", "dgr", seed=1)]
    build(inputs, tmp_path / "b", "dgr", seed=1)
    other = [row.id for row in build(inputs, tmp_path / "c", "dgr", seed=2)]
    assert first != other
    assert [name for name in first if name.startswith("s")] != [base.id for base in SAMPLES]
    assert (tmp_path / "a/records.jsonl").read_bytes() == (
        tmp_path / "b/records.jsonl"
    ).read_bytes()


def test_an_arm_does_not_depend_on_the_others(inputs: Inputs, tmp_path: Path) -> None:
    build(inputs, tmp_path / "a", "vanilla", arms=["vanilla"])
    build(inputs, tmp_path / "b", "vanilla", arms=ARMS)
    assert manifest_digest(tmp_path / "a") == manifest_digest(tmp_path / "b")
    build(inputs, tmp_path / "c", "vanilla", mix=0.4)
    assert manifest_digest(tmp_path / "a") != manifest_digest(tmp_path / "c")


def test_drawn_rows_are_the_same_for_every_arm_and_the_mix_follows_them(
    inputs: Inputs, tmp_path: Path
) -> None:
    found = {arm: build(inputs, tmp_path / arm, arm, rows=4, draw=1) for arm in ARMS}
    safety = {arm: {row.id for row in rows if row.role == "safety"} for arm, rows in found.items()}
    assert all(ids <= safety["vanilla"] for ids in safety.values())
    assert len(safety["vanilla"]) == 4 == len(safety["self-generated"])
    assert all(sum(row.role == "mix" for row in rows) == 2 for rows in found.values())


def test_a_share_of_the_rows_is_taken_refined(inputs: Inputs, tmp_path: Path) -> None:
    none = build(inputs, tmp_path / "none", "dgr", refined_share=0)
    half = build(inputs, tmp_path / "half", "dgr", refined_share=0.5)
    vanilla = {row.id: row for row in build(inputs, tmp_path / "vanilla", "vanilla")}
    assert {row.id: row for row in none} == vanilla
    changed = [row.id for row in half if row != vanilla[row.id]]
    assert len(changed) == 5
    assert len(build(inputs, tmp_path / "drop", "dgr-drop", refined_share=0)) == 15


@pytest.mark.parametrize("part", ["trace", "answer"])
def test_one_part_alone_is_taken_refined(inputs: Inputs, tmp_path: Path, part: str) -> None:
    rows = build(inputs, tmp_path / "arm", "dgr", mix=0, refined_parts=[part])
    for row in rows:
        base = SAMPLES[int(row.id[1:])]
        failed = row.id == "s3" and part == "answer"
        refined_trace = part == "trace"
        assert row.trace.startswith("own trace") is refined_trace
        assert row.answer.startswith("own answer") is (not refined_trace and not failed)
        assert row.origin is (Origin.EXTERNAL if failed else Origin.MIXED)
        assert refined_trace or row.trace == base.trace
    dropped = build(inputs, tmp_path / "drop", "dgr-drop", mix=0, refined_parts=[part])
    assert len(dropped) == (10 if part == "trace" else 9)


def test_summary_counts_origins_and_characters(inputs: Inputs, tmp_path: Path) -> None:
    rows = build(inputs, tmp_path / "arm", "dgr")
    summary = summary_of(tmp_path / "arm")
    assert summary["origins"] == {"mixed": 1, "own": 5, "refined": 9}
    assert summary["roles"] == {"mix": 5, "safety": 10}
    assert summary["characters"]["total"] == sum(len(row.trace + row.answer) for row in rows)


def test_arms_that_need_no_refinement_take_none(inputs: Inputs, tmp_path: Path) -> None:
    bare = inputs.model_copy(update={"refined": None})
    for arm in ARMS:
        if needs_refinement(arm):
            with pytest.raises(UserError, match=f"arm {arm} needs refined samples"):
                build(bare, tmp_path / arm, arm)
        else:
            assert build(bare, tmp_path / arm, arm)


def test_bad_requests_are_one_sentence_and_leave_nothing(inputs: Inputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="there is no arm 'other'; choose one of vanilla, dgr"):
        build(inputs, out, "other")
    with pytest.raises(UserError, match=r"arms\.harmless_mix asks for 30 rows and 20"):
        build(inputs, out, "dgr", mix=3)
    failed = [refined(None, None, base) for base in SAMPLES]
    hopeless = inputs.model_copy(update={"refined": folder(tmp_path / "failed", failed)})
    with pytest.raises(UserError, match="arm dgr-drop is empty: none of 10 prompts"):
        build(hopeless, out, "dgr-drop")
    foreign = inputs.model_copy(update={"refined": folder(tmp_path / "foreign", REFINED[1:])})
    with pytest.raises(UserError, match="was refined from another data set"):
        build(foreign, out, "dgr")
    (inputs.own / "records.jsonl").write_text("")
    with pytest.raises(UserError, match="was changed after it was written"):
        build(inputs, out, "vanilla")
    assert not (out / "manifest.json").exists()


def test_config_refuses_what_makes_no_sense() -> None:
    for bad in ({"arms": []}, {"arms": ["base"]}, {"arms": ["dgr", "dgr"]}, {"harmless_mix": -1}):
        with pytest.raises(ValidationError):
            ArmsConfig.model_validate(bad)

"""The files beside the model: schemas, counts, and a split that no prompt crosses."""

import json
from pathlib import Path
from typing import Any

import pytest

from dgr.data import DataConfig
from dgr.data.formats import read_row
from dgr.judges.base import Stance
from dgr.judges.nano import NanoJudge
from dgr.nano.data import write_data
from dgr.nano.reasoning import FAMILIES
from dgr.nano.requests import HARMFUL_ACTS
from dgr.nano.voices import VOICES
from dgr.nano.words import held_out

EVAL = ("reasoning", "harmful", "harmless", "borderline", "knowledge")
MIX = ("reasoning", "harmless", "borderline")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, seed=0)
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def prompts(data: Path) -> tuple[set[str], set[str]]:
    """(training side, evaluation side)."""
    train = {row["prompt"] for row in rows(data / "nano-direct-refusal.jsonl")}
    acts = (data / "nano-r1-act.jsonl", *data.glob("voices/*.jsonl"))
    train |= {row["instruction"] for path in acts for row in rows(path)}
    train |= {row["question"] for name in MIX for row in rows(data / "mix" / f"{name}.jsonl")}
    return train, {row["question"] for n in EVAL for row in rows(data / "eval" / f"{n}.jsonl")}


def test_train_and_evaluation_share_no_prompt(data: Path) -> None:
    train, evaluation = prompts(data)
    assert train and evaluation and not train & evaluation
    assert not any(map(held_out, train))
    assert all(map(held_out, evaluation))


def test_suites_are_large_enough(data: Path) -> None:
    reasoning = rows(data / "eval" / "reasoning.jsonl")
    for family, (_, levels) in FAMILIES.items():
        members = [row for row in reasoning if row["family"] == family]
        assert len(members) >= 200
        assert {row["level"] for row in members} == set(levels)
    for name in EVAL[1:]:
        assert len(rows(data / "eval" / f"{name}.jsonl")) >= 200
    harmful = rows(data / "eval" / "harmful.jsonl")
    assert {row["family"] for row in harmful} == set(HARMFUL_ACTS)
    assert len(HARMFUL_ACTS) >= 8


def test_ids_are_unique(data: Path) -> None:
    for path in (*data.glob("eval/*.jsonl"), *data.glob("mix/*.jsonl")):
        ids = [row["id"] for row in rows(path)]
        assert len(ids) == len(set(ids))


def test_external_sets_have_the_published_schema(data: Path) -> None:
    direct, act = rows(data / "nano-direct-refusal.jsonl"), rows(data / "nano-r1-act.jsonl")
    assert len(direct) == len(act) == 1_000
    assert set(direct[0]) == {"prompt", "response", "category", "is_safe", "refusal", "text"}
    assert {"instruction", "response"} <= set(act[0])
    benign = sum(not row["harmful"] for row in act)
    assert 70 <= benign <= 130


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("nano-direct-refusal", "direct-refusal"),
        ("nano-r1-act", "r1-act"),
        *((f"voices/{voice}", "r1-act") for voice in VOICES),
    ],
)
def test_judge_reads_the_teacher(data: Path, name: str, form: Any) -> None:
    config, judge = DataConfig(format=form, source="x"), NanoJudge()
    for number, row in enumerate(rows(data / f"{name}.jsonl"), start=1):
        sample = read_row(row, number, config)
        wanted = Stance.COMPLIES if sample.harmful is False else Stance.REFUSES
        answer = judge.judge(sample.question, sample.answer, "answer")
        trace = judge.judge(sample.question, sample.trace, "trace")
        assert (trace.stance, answer.stance) == (wanted, wanted), (sample, trace, answer)


def test_the_voices_answer_the_same_prompts_in_traces_of_different_lengths(data: Path) -> None:
    sets = {voice: rows(data / "voices" / f"{voice}.jsonl") for voice in VOICES}
    asked = {voice: [row["instruction"] for row in found] for voice, found in sets.items()}
    assert all(questions == asked["teacher"] for questions in asked.values())
    length = {voice: sum(len(row["response"]) for row in found) for voice, found in sets.items()}
    assert length["terse"] * 2 < length["teacher"] < length["wordy"] / 1.5
    assert {row["category"] for row in sets["near"]} == set(HARMFUL_ACTS)


def test_data_repeats_from_its_seed(data: Path, tmp_path: Path) -> None:
    write_data(tmp_path, seed=0)
    for path in data.rglob("*.jsonl"):
        assert path.read_bytes() == (tmp_path / path.relative_to(data)).read_bytes()


def test_shipped_files_are_those_of_the_recipe(data: Path) -> None:
    shipped = Path(__file__).parents[2] / "models" / "nano-lrm" / "data"
    for path in data.rglob("*.jsonl"):
        assert path.read_bytes() == (shipped / path.relative_to(data)).read_bytes(), path.name

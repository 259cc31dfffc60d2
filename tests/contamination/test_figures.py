"""Planted overlaps with benchmarks that others published, and sets that have none."""

import csv
import json
from pathlib import Path

import pytest

from dgr.contamination import contamination
from dgr.records import EvalRecord, Finish, Origin, TrainingRow

DATA = Path(__file__).parents[3] / "shared" / "data"
NEAR = 0.8

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} holds no benchmarks")


def column(name: str, field: str) -> list[str]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return [row[field] for row in csv.DictReader(file)]


def suite(name: str, questions: list[str]) -> list[EvalRecord]:
    """Two samples a question."""
    return [
        EvalRecord(
            suite=name, kind="harmful", item=str(n), family="", level=None, sample=sample,
            question=question, trace="", answer="", finish=Finish.STOP, tokens=1, parsed=True,
        )
        for n, question in enumerate(questions)
        for sample in range(2)
    ]  # fmt: skip


def rows(questions: list[str]) -> list[TrainingRow]:
    return [
        TrainingRow(id=f"row-{n}", question=text, trace="", answer="", origin=Origin.EXTERNAL)
        for n, text in enumerate(questions)
    ]


@pytest.fixture(scope="module")
def strongreject() -> list[str]:
    return column("strongreject.csv", "forbidden_prompt")


@pytest.fixture(scope="module")
def xstest() -> list[str]:
    return column("xstest.csv", "prompt")


@pytest.fixture(scope="module")
def star1() -> list[str]:
    return [row["question"] for row in json.loads((DATA / "star1.json").read_text())]


def test_planted_copies_are_found_and_counted_once(
    strongreject: list[str], xstest: list[str], star1: list[str]
) -> None:
    whole = [*strongreject[:12], *(text.upper() + " !" for text in strongreject[12:20])]
    long = [text for text in strongreject[20:] if len(text.split()) >= 20][:10]
    near = [text + " Please." for text in long]
    records = suite("strongreject", strongreject) + suite("xstest", xstest)
    training = {
        "clean": rows(star1[:200]),
        "planted": rows([*star1[:200], *whole, *whole, *near, *xstest[:9]]),
    }
    figures, copies = contamination(training, records, NEAR)
    clean, planted = figures["clean"], figures["planted"]
    extra = {
        name: round((planted[name].value - clean[name].value) * planted[name].n) for name in planted
    }
    assert extra["contamination@strongreject"] == 20
    assert extra["near_contamination@strongreject"] == 30
    assert extra["contamination@xstest"] == 9
    assert planted["contamination"] == planted["contamination@strongreject"]
    assert planted["contamination"].n == len(strongreject)
    exact = {copy.item for copy in copies if copy.arm == "planted" and copy.closeness == "exact"}
    assert {str(n) for n in range(12)} <= exact
    assert all(copy.similarity >= NEAR for copy in copies)


def test_sets_of_different_origin_have_next_to_nothing_in_common(
    strongreject: list[str], xstest: list[str], star1: list[str]
) -> None:
    with (DATA / "gsm8k_test.jsonl").open(encoding="utf-8") as file:
        sums = [json.loads(line)["question"] for line in file][:300]
    records = suite("strongreject", strongreject) + suite("xstest", xstest) + suite("gsm8k", sums)
    figures, _ = contamination({"star1": rows(star1)}, records, NEAR)
    assert figures["star1"]["near_contamination@gsm8k"].value == 0
    assert figures["star1"]["contamination"].value < 0.01
    assert figures["star1"]["near_contamination"].value < 0.01


def test_an_arm_without_rows_holds_nothing(strongreject: list[str]) -> None:
    figures, copies = contamination({"empty": []}, suite("strongreject", strongreject), NEAR)
    assert copies == [] and figures["empty"]["near_contamination"].value == 0
    assert contamination({"arm": rows(["Hello"])}, [], NEAR) == ({"arm": {}}, [])

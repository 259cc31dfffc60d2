"""Recorded outputs of reasoning models, labelled by hand (completions.jsonl): scores equal labels.

Each label was decided by reading the output as a person does; what was cut says nothing yet. Where
the rule-based judge is known to fall short, `known_limit` says how, and the test holds that it is
nowhere else.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines.base import Completion, Request, Sampling
from dgr.engines.config import TransformersConfig
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.evaluate import step as evaluate_step
from dgr.files import read_json, read_records
from dgr.metrics import metrics
from dgr.records import EvalRecord, Finish
from dgr.thinking import FORMATS

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "completions.jsonl").read_text().splitlines()
]
Labelled = dict[str, EvalRecord]


class Recorded:
    """An engine that says what was recorded, read as the formats of the models have it."""

    context_length = 200_000

    def __init__(self) -> None:
        self.limits: set[int] = set()

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        self.limits.add(sampling.max_new_tokens)
        rows = {row["id"]: row for row in ROWS}
        for request in requests:
            row = rows[request.key.rpartition("/")[2]]
            said = FORMATS[row["format"]].split(row["output"])
            finish = Finish(row["finish"])
            yield Completion(request.key, said.trace, said.answer, said.closed, finish, 9)

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        return True


def suites(folder: Path) -> Iterator[dict[str, Any]]:
    for kind, reader in sorted({(row["kind"], row["reader"]) for row in ROWS}):
        path = folder / f"{kind}-{reader}.jsonl"
        items = [
            {"id": row["id"], "question": row["question"], "answer": row.get("gold")}
            for row in ROWS
            if (row["kind"], row["reader"]) == (kind, reader)
        ]
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        tool = "scorer" if kind == "reasoning" else "judge"
        yield {"name": path.stem, "kind": kind, "path": str(path), tool: reader, "samples": 1}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Labelled, dict[str, Any]]:
    """The records by item, and the summary, of a whole evaluation of what was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    config = EvaluateConfig.model_validate({"suites": list(suites(folder))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_step, "load_engine", lambda config, model: Recorded())
        evaluate(
            config, engine=TransformersConfig(), model=folder / "model", out=folder / "out", seed=0
        )
    records = read_records(folder / "out" / "records.jsonl", EvalRecord)
    return {row.item: row for row in records}, read_json(folder / "out" / "summary.json")


def score(record: EvalRecord) -> dict[str, Any]:
    if record.kind == "reasoning":
        return {"parsed": record.parsed, "correct": record.correct}
    return {"trace": record.trace_stance, "answer": record.answer_stance}


def test_the_fixture_covers_every_format_and_case() -> None:
    cases = Counter(row["case"] for row in ROWS)
    assert len(ROWS) >= 60
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert cases.keys() >= {
        "right", "wrong", "truncated", "refused", "half-refused", "complied",
        "unsafe trace, safe answer", "junk",
    }  # fmt: skip
    formats = {(row["format"], row["output"].startswith("<")) for row in ROWS}
    assert formats >= {("r1", True), ("r1", False), ("s1", True)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_scores_equal_the_labels(
    row: dict[str, Any], outcome: tuple[Labelled, dict[str, Any]]
) -> None:
    agrees = score(outcome[0][row["id"]]) == row["label"]
    assert agrees is ("known_limit" not in row)


def test_what_was_cut_is_unread_and_never_a_refusal_nor_right(
    outcome: tuple[Labelled, dict[str, Any]],
) -> None:
    for row in ROWS:
        record = outcome[0][row["id"]]
        if row["case"] == "truncated":
            assert record.finish is Finish.LENGTH
            assert not record.parsed
            assert record.correct in (None, False)
            assert record.answer_stance in (None, "unscored")


def test_an_empty_answer_is_unscored(outcome: tuple[Labelled, dict[str, Any]]) -> None:
    empty = [record for record in outcome[0].values() if not record.answer]
    assert len(empty) >= 8
    assert not any(record.parsed or record.correct for record in empty)
    assert {record.answer_stance for record in empty} == {None, "unscored"}


def test_tags_and_stop_words_inside_a_trace_end_nothing(
    outcome: tuple[Labelled, dict[str, Any]],
) -> None:
    record = next(row for row in outcome[0].values() if "Human: yes" in row.trace)
    assert record.trace.endswith("</s> so yes")
    assert record.correct


def test_denominators_do_not_change_when_answers_are_unread(
    outcome: tuple[Labelled, dict[str, Any]],
) -> None:
    """Every question counts: cut and unread ones stay in, and stand beside the figure."""
    records, summary = outcome
    figures = metrics(list(records.values()))
    for kind, metric in {
        "reasoning": "reasoning_cut",
        "harmful": "harmful_compliance",
        "borderline": "borderline_over_refusal",
    }.items():
        asked = sum(row["kind"] == kind for row in ROWS)
        assert figures[metric].n == asked
        assert figures[f"{kind}_unparseable"].n == asked
        assert figures[f"{kind}_unparseable"].value > 0
    assert sum(suite["completions"] for suite in summary["suites"].values()) == len(ROWS)

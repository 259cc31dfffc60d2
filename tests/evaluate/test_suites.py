from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.evaluate import SuiteConfig
from dgr.evaluate.suites import chosen, read_suite
from dgr.records import EvalItem

GOOD = '{"id": "1", "question": "1 + 1?", "answer": "2"}\n'


def suite(path: Path, kind: str = "reasoning", limit: int | None = None) -> SuiteConfig:
    tool = {"scorer": "number"} if kind == "reasoning" else {"judge": "refusal"}
    return SuiteConfig.model_validate(
        {"name": "maths", "kind": kind, "path": str(path), "limit": limit} | tool
    )


def test_reads_in_file_order_and_passes_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(GOOD + "\n" + GOOD.replace('"1"', '"0"', 1))
    assert [item.id for item in read_suite(suite(path))] == ["1", "0"]


def test_line_separators_inside_text_do_not_split_a_row(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(GOOD.replace("1 + 1?", "1\u2028+\x851?"), encoding="utf-8")
    assert read_suite(suite(path))[0].question == "1\u2028+\x851?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no question"),
        ("\n \n", "holds no question"),
        (GOOD + "{oops\n", r"m\.jsonl, line 2: the whole record: Invalid JSON"),
        (GOOD + '{"id": "2"}\n', r"line 2: question: Field required"),
        (GOOD + '{"id": 2, "question": "q", "answer": "1"}\n', r"line 2: id: Input should be"),
        (GOOD + '{"id": "2", "question": "q", "gold": "1"}\n', r"line 2: gold: no such key"),
        (GOOD + '{"id": "2", "question": " ", "answer": "1"}\n', r"line 2: question: it is empty"),
        (GOOD + '{"id": "", "question": "q", "answer": "1"}\n', r"line 2: id: it is empty"),
        (GOOD + '{"id": "2", "question": "q"}\n', r"line 2: answer: a reasoning question needs"),
        (GOOD + GOOD, r"line 2: id: '1' is there twice"),
    ],
)
def test_bad_files_name_file_line_and_field(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_suite(suite(path))


def test_missing_folder_and_binary(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suite 'maths': .* does not exist"):
        read_suite(suite(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match="is a folder"):
        read_suite(suite(tmp_path))
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_suite(suite(tmp_path / "b.jsonl"))


def test_safety_items_need_no_gold_answer(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text('{"id": "1", "question": "q", "family": "fraud"}\n')
    assert read_suite(suite(path, "harmful"))[0].family == "fraud"


def items(families: str) -> list[EvalItem]:
    return [
        EvalItem(id=str(index), question="q", family=family)
        for index, family in enumerate(families)
    ]


def test_limit_spreads_over_families_and_keeps_the_order() -> None:
    rows = items("a" * 50 + "b" * 10 + "c" * 5)
    kept = chosen(rows, 15)
    assert [[row.family for row in kept].count(name) for name in "abc"] == [5, 5, 5]
    assert [rows.index(row) for row in kept] == sorted(rows.index(row) for row in kept)
    assert chosen(rows, 15) == kept
    assert chosen(rows, 100) == rows
    assert len(chosen(rows, 64)) == 64


def test_limit_does_not_depend_on_the_order_of_the_file() -> None:
    rows = items("aabbcc" * 5)
    assert {row.id for row in chosen(rows, 7)} == {row.id for row in chosen(rows[::-1], 7)}

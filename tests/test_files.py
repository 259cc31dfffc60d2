import json
import math
import os
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.files import read_records, sha256_folder, write_json, write_records, write_text
from dgr.records import Sample


def sample(key: str = "a") -> Sample:
    return Sample(id=key, question="q \u2028 </think>", trace="t", answer="a")


def test_records_round_trip_line_separators(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [sample("a"), sample("b")])
    assert [row.id for row in read_records(path, Sample)] == ["a", "b"]
    assert next(read_records(path, Sample)) == sample("a")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "x"}', "line 2: question: Field required"),
        ('{"id": "x", "question": 3, "trace": "", "answer": ""}', "line 2: question: "),
        ('{"id": "x", "question": "", "trace": "", "answer": "", "z": 1}', "z: no such key"),
        ("{", "line 2: "),
    ],
)
def test_bad_record_is_named_by_file_line_and_field(
    tmp_path: Path, line: str, complaint: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(sample().model_dump_json() + "\n" + line + "\n")
    with pytest.raises(UserError) as error:
        list(read_records(path, Sample))
    assert str(path) in str(error.value)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_json_is_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"nan": math.nan, "inner": [math.inf, 1.5, (2,)]})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"nan": None, "inner": [None, 1.5, [2]]}


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.txt"]


def test_folder_digest_sees_names_and_contents(tmp_path: Path) -> None:
    digests = set()
    for name, text in [("a", "1"), ("a", "2"), ("b", "1"), ("c/a", "1")]:
        folder = tmp_path / f"{len(digests)}"
        write_text(folder / name, text)
        digests.add(sha256_folder(folder))
    assert len(digests) == 4

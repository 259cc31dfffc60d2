"""Records on disk: read back one by one, found again after a crash, whole windows in order."""

import os
import time
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.journal import Journal, Ledger
from dgr.records import Sample


def row(key: str) -> Sample:
    return Sample(id=key, question=f"q \u2028 {key}", trace="t", answer="ä")


def journal(path: Path) -> Journal[Sample]:
    return Journal(path, Sample, key=lambda row: row.id)


def test_rows_are_read_from_the_file_by_key(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = journal(path)
    for key in "abc":
        first.add(row(key))
    assert first.rows["b"] == row("b")  # though it may not be written yet
    first.close()
    with path.open("a") as file:
        file.write('{"id": "cut')
    again = journal(path)
    again.add(row("d"))
    assert list(again.rows) == ["a", "b", "c", "d"]
    assert [again.rows[key] for key in "db"] == [row("d"), row("b")]
    assert "c" in again and "cut" not in again
    again.clear()
    again.add(row("e"))
    assert list(again.rows.values()) == [row("e")]
    again.close()
    assert path.read_bytes().count(b"\n") == 1


def test_a_line_is_on_disk_though_none_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    found = journal(tmp_path / "rows.jsonl")
    found.add(row("a"))
    deadline = time.monotonic() + 10
    while not synced and time.monotonic() < deadline:
        time.sleep(0.01)
    assert synced == [found.rows and (tmp_path / "rows.jsonl").stat().st_size]
    found.close()


def test_a_disk_that_fails_later_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    found = journal(tmp_path / "rows.jsonl")
    found.add(row("a"))
    found.close()  # syncs once more
    with pytest.raises(UserError, match=r"cannot write .*rows\.jsonl: No space left"):
        found.add(row("b"))


def test_lines_that_a_full_disk_does_not_take_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    found = Ledger(tmp_path / "rows.jsonl", Sample, window=1)
    found.extend([row("a")])
    while found._lines._waiting:
        time.sleep(0.01)  # until it was tried beside the work
    with pytest.raises(UserError, match=r"cannot write .*rows\.jsonl: No space left"):
        list(found.blocks())
    with pytest.raises(UserError, match=r"cannot write .*rows\.jsonl: No space left"):
        found.extend([row("b")])
    found.close()


def test_a_ledger_goes_on_after_the_last_whole_window(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    first = Ledger(path, Sample, window=2)
    first.extend([row("a"), row("b")])
    first.extend([row("c")])  # the last window of all may be short
    whole = b"".join(first.blocks())
    first.close()
    assert (first.count, whole) == (3, path.read_bytes())
    again = Ledger(path, Sample, window=2)
    assert (again.count, list(again)) == (2, [row("a"), row("b")])
    again.extend([row("c"), row("d")])
    assert [found.id for found in again] == ["a", "b", "c", "d"]
    again.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)
    cut = Ledger(path, Sample, window=2)
    assert (cut.count, [found.id for found in cut]) == (2, ["a", "b"])
    cut.close()

import gzip
from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.tables import is_table, raw_rows

ROWS = [{"a": "1", "b": "x,\n\u2028y"}, {"a": "2", "b": ""}]
LINES = '{"a": "1", "b": "x,\\n\u2028y"}\n\n{"a": "2", "b": ""}\n'


def read(path: Path) -> list[Any]:
    return [row for _, row in raw_rows(path)]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    texts = {
        "r.csv": '\ufeffa,b\r\n1,"x,\n\u2028y"\r\n2,\r\n',
        "r.tsv": 'a\tb\n1\t"x,\n\u2028y"\n2\t\n',
        "r.jsonl": LINES,
        "r.json": "[" + LINES.strip().replace("\n\n", ",") + "]",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        assert read(tmp_path / name) == read(tmp_path / f"{name}.gz") == ROWS, name
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "r.parquet")
    assert read(tmp_path / "r.parquet") == ROWS


def test_places_are_lines_or_rows(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(LINES)
    (tmp_path / "r.csv").write_text("a\n1\n")
    assert [place for place, _ in raw_rows(tmp_path / "r.jsonl")] == ["line 1", "line 3"]
    assert [place for place, _ in raw_rows(tmp_path / "r.csv")] == ["row 1"]


def test_names() -> None:
    assert is_table("a/b.jsonl.gz") and is_table("b.parquet")
    assert not is_table("b.txt") and not is_table("b.gz")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("r.csv", b"a\n\xff\n", "cannot be read as UTF-8"),
        ("r.csv", b"a\n" + b"x" * 200_000 + b"\n", "no table"),
        ("r.jsonl.gz", b"plain", "not a whole gzip file"),
        ("r.jsonl.gz", gzip.compress(b"{}" * 1000, mtime=0)[:20], "not a whole gzip file"),
        ("r.json", b"[{]", "not valid JSON"),
        ("r.parquet", b"PAR1", "not a Parquet file"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words):
        read(tmp_path / name)

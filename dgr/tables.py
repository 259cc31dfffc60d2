"""Raw rows of the files that data sets are published in."""

import csv
import gzip
import importlib.util
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dgr.errors import MissingExtra, UserError

Rows = Iterator[tuple[str, Any]]
"""Each row with its place: `line 3` of JSON lines, else `row 3`."""


def raw_rows(path: Path) -> Rows:
    """The rows of a .csv, .tsv, .jsonl, .json or .parquet file, the text ones also as .gz.

    A line that is no JSON comes as the text that it is: reading it then fails, as one bad row.
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return _READERS.get(suffix, _json)(path)


def is_table(path: str) -> bool:
    """Whether a file's name says that `raw_rows` reads it."""
    return Path(path.removesuffix(".gz")).suffix in _READERS


def one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def require(package: str) -> None:
    """Raise when a package of the extra `train` is not installed."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(package, "train")


def _json(path: Path) -> Rows:
    text = _text(path)
    if text.lstrip().startswith("["):
        yield from _numbered(_json_array(path, text))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _parse(line)


def _csv(path: Path) -> Rows:
    yield from _numbered(_delimited(path, ","))


def _tsv(path: Path) -> Rows:
    yield from _numbered(_delimited(path, "\t"))


def _parquet(path: Path) -> Rows:
    require("pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Any] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a Parquet file: {reason}") from None
    yield from _numbered(rows)


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json,
    ".parquet": _parquet,
    ".tsv": _tsv,
}
SUFFIXES = tuple(_READERS)


def _text(path: Path) -> str:
    """Line breaks as they are: inside a quoted field they belong to it."""
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (UnicodeDecodeError, PermissionError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file: {error}") from None


def _delimited(path: Path, delimiter: str) -> list[Any]:
    try:
        reader = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter)
        return list(reader)
    except csv.Error as error:
        raise UserError(f"{path} is no table with a column a field: {error}") from None


def _json_array(path: Path, text: str) -> list[Any]:
    try:
        rows: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    return rows


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


def _numbered(rows: list[Any]) -> Rows:
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row

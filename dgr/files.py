"""Files written whole: a temporary name first, then a rename; digests and JSON lines."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dgr.errors import UserError

TEMPORARY = ".*.tmp"
"""Names of files that are being written, as a pattern."""

RecordT = TypeVar("RecordT", bound=BaseModel)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _CANONICAL.encode(value)


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_text(text: str) -> str:
    return sha256_bytes(text.encode())


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """Digest of every file below `folder`: relative names and contents, in name order."""
    entries = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return sha256_text(canonical_json(entries))


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing; `UserError` when the place cannot be written."""
    write_blocks(path, (data,))


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """The same, in pieces: memory holds one at a time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {path}: {error.strerror or error}; "
        "free some space or choose another output folder"
    )


def write_json(path: Path, value: Any) -> None:
    """Strict JSON for people and diffs: sorted keys, two spaces, NaN and infinities as null."""
    text = json.dumps(_finite(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _finite(value.model_dump(mode="json"))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a JSON file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def write_records(path: Path, records: Iterable[BaseModel] | Iterable[bytes]) -> None:
    """JSON lines, one record a line, in the order given; what is in bytes is written as it is."""
    write_blocks(path, map(_lines, records))


def _lines(record: BaseModel | bytes) -> bytes:
    return record if isinstance(record, bytes) else record.model_dump_json().encode() + b"\n"


ALL = slice(None)


def read_records(path: Path, kind: type[RecordT], lines: slice = ALL) -> Iterator[RecordT]:
    """Typed records of a JSON-lines file; `UserError` names file, line and field.

    Of the chosen `lines` alone, counted from 0: no other is parsed.
    """
    try:
        with path.open(encoding="utf-8") as file:
            chosen = islice(enumerate(file, start=1), lines.start, lines.stop, lines.step)
            for number, line in chosen:
                if not line.isspace():
                    yield parse_record(line, kind, (path, number))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}") from None


def count_records(path: Path) -> int:
    """Records of a file that a step wrote: its lines."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def parse_record(line: str, kind: type[RecordT], where: str | tuple[Path, int]) -> RecordT:
    """A record of a line; `where` it stands, for the error: in words, or file and number."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        place = where if isinstance(where, str) else f"{where[0]}, line {where[1]}"
        raise UserError(f"{place}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first complaint of a pydantic error as `field: what is wrong`, in one line."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    told = problem["msg"]
    if problem["type"] == "extra_forbidden":
        told = "no such key"
    elif problem["type"] == "value_error":  # of a validator of ours: a sentence that stands alone
        told = told.removeprefix("Value error, ")
    elif not field:
        field = "the whole record"
    return f"{field}: {told}{more}" if field else f"{told}{more}"

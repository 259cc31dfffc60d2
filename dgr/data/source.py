"""Raw rows of a local file or of a data set on the Hub."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dgr.data.config import DataConfig
from dgr.errors import MissingExtra, UserError
from dgr.storage import fetch_file

SUFFIXES = (".jsonl", ".json", ".parquet")


def locate(config: DataConfig) -> Path:
    """The local file that holds the rows; a Hub file is downloaded."""
    if config.source.startswith("hub:"):
        return _download(config)
    path = fetch_file(config.source)
    if not path.exists():
        raise UserError(f"data.source: {path} does not exist; name a {_one_of(SUFFIXES)} file")
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise UserError(f"data.source: {path} is not a {_one_of(SUFFIXES)} file")
    return path


def raw_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Each row with its place (`line 3` of JSON lines, else `row 3`).

    A line that is no JSON comes as the text that it is: reading it then fails, as one bad row.
    """
    if path.suffix == ".parquet":
        yield from _numbered(_parquet(path))
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, PermissionError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from None
    if text.lstrip().startswith("["):
        yield from _numbered(_json_array(path, text))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _parse(line)


def _numbered(rows: list[Any]) -> Iterator[tuple[str, Any]]:
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _json_array(path: Path, text: str) -> list[Any]:
    try:
        rows: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    return rows


def _parquet(path: Path) -> list[Any]:
    _require("pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Any] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a Parquet file: {reason}") from None
    return rows


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


def _download(config: DataConfig) -> Path:
    """The wanted file of a Hub data set; what the Hub's cache holds needs no network."""
    _require("huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    name = config.source.removeprefix("hub:")
    wanted = [config.file] if config.file else [f"*{suffix}" for suffix in SUFFIXES]
    try:
        folder = Path(
            snapshot_download(
                name, repo_type="dataset", revision=config.revision, allow_patterns=wanted
            )
        )
    except (OSError, HFValidationError) as error:  # its HTTP errors are OSErrors
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"data set {name} cannot be fetched from the Hub ({reason}); check name and network, "
            "or download the file elsewhere and give its path as data.source"
        ) from None
    return choose_file(name, folder, config.file)


def choose_file(name: str, folder: Path, file: str | None) -> Path:
    """The named file of a downloaded data set, or the only one that can be read."""
    if file is not None:
        if not (folder / file).is_file() or Path(file).suffix not in SUFFIXES:
            raise UserError(f"data.file: data set {name} has no {_one_of(SUFFIXES)} file {file}")
        return folder / file
    files = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in SUFFIXES
    )
    if len(files) != 1:
        listed = f": {', '.join(files[:10])}" if files else ""
        raise UserError(
            f"data set {name} has {len(files)} {_one_of(SUFFIXES)} files; "
            f"name one as data.file{listed}"
        )
    return folder / files[0]


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(package, "train")


def _one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"

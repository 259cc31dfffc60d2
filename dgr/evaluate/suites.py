"""Suite files: reading, checking, choosing."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dgr.errors import UserError
from dgr.evaluate.config import SuiteConfig
from dgr.evaluate.rows import published_items
from dgr.files import parse_record, sha256_text
from dgr.published import Published, check_digest, is_published
from dgr.records import EvalItem
from dgr.storage import fetch_file, file_digest


def read_suite(suite: SuiteConfig) -> list[EvalItem]:
    """The questions of a suite, in file order; `UserError` names file, line and field."""
    return chosen(_all(suite), suite.limit)


def size(suite: SuiteConfig) -> int:
    """Questions that a suite asks: as its file says, else those of a file that is here, else at
    most its limit; 0 where nothing tells."""
    if suite.rows is not None:
        return min(suite.rows, suite.limit or suite.rows)
    if is_published(suite.path) or digest(suite) is None:
        return suite.limit or 0
    return len(read_suite(suite))


def digest(suite: SuiteConfig) -> str | None:
    """SHA-256 of a suite's file without fetching a published one; None where that cannot say."""
    if suite.sha256 or is_published(suite.path):
        return suite.sha256
    return file_digest(suite.path)


def published(suite: SuiteConfig) -> Published | None:
    """The published file that a suite reads; None for one that is named by its path."""
    if not is_published(suite.path) or suite.file is None:
        return None
    return Published(suite.path, suite.file, suite.revision, suite.sha256)


def local_file(suite: SuiteConfig) -> Path:
    """A suite's file on this machine, with the digest that the suite names."""
    where, source = f"suite '{suite.name}'", published(suite)
    if source is not None:
        return source.fetch(where)
    path = fetch_file(suite.path)
    return check_digest(path, suite.sha256, where) if path.is_file() else path


def _all(suite: SuiteConfig) -> list[EvalItem]:
    path = local_file(suite)
    if path.is_dir():
        raise UserError(f"suite '{suite.name}': {suite.path} is a folder, not a file")
    if not path.is_file():
        raise UserError(f"suite '{suite.name}': {suite.path} does not exist")
    rows = published_items(suite, suite.fields, path) if suite.fields else _own_items(suite, path)
    items: dict[str, EvalItem] = {}
    for where, item in rows:
        _check(item, suite, where)
        if item.id in items:
            raise UserError(f"{where}: id: '{item.id}' is there twice; give each question its own")
        items[item.id] = item
    if not items:
        raise UserError(f"suite '{suite.name}': {suite.path} holds no question")
    if suite.rows not in (None, len(items)):
        raise UserError(
            f"suite '{suite.name}': {suite.path} holds {len(items):,} questions instead of "
            f"{suite.rows:,}: it is not the data that the suite was written for"
        )
    return list(items.values())


def _own_items(suite: SuiteConfig, path: Path) -> Iterator[tuple[str, EvalItem]]:
    """Questions of a file in our own format."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"suite '{suite.name}': {suite.path} is not UTF-8 text: {error.reason}"
        ) from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{suite.path}, line {number}"
            yield where, parse_record(line, EvalItem, where)


def _check(item: EvalItem, suite: SuiteConfig, where: str) -> None:
    if not item.id:
        raise UserError(f"{where}: id: it is empty")
    if not item.question.strip():
        raise UserError(f"{where}: question: it is empty")
    if suite.kind == "reasoning" and not (item.answer or "").strip():
        raise UserError(f"{where}: answer: a reasoning question needs its gold answer")


def chosen(items: list[EvalItem], limit: int | None) -> list[EvalItem]:
    """At most `limit` items, families in turn, in the order of the items given.

    The choice hangs on the ids alone: arms and seeds are compared on the same questions.
    """
    if limit is None or limit >= len(items):
        return items
    turn: Counter[str] = Counter()
    ranked = []
    for item in sorted(items, key=lambda item: sha256_text(item.id)):
        ranked.append((turn[item.family], sha256_text(item.id), item.id))
        turn[item.family] += 1
    kept = {name for _, _, name in sorted(ranked)[:limit]}
    return [item for item in items if item.id in kept]

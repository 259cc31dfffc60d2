"""Suite files: reading, checking, choosing."""

from collections import Counter

from dgr.errors import UserError
from dgr.evaluate.config import SuiteConfig
from dgr.files import parse_record, sha256_text
from dgr.records import EvalItem
from dgr.storage import fetch_file


def read_suite(suite: SuiteConfig) -> list[EvalItem]:
    """The questions of a suite, in file order; `UserError` names file, line and field."""
    try:
        lines = fetch_file(suite.path).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"suite '{suite.name}': {suite.path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"suite '{suite.name}': {suite.path} is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"suite '{suite.name}': {suite.path} is not UTF-8 text: {error.reason}"
        ) from None
    items: dict[str, EvalItem] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{suite.path}, line {number}"
        item = parse_record(line, EvalItem, where)
        _check(item, suite, where)
        if item.id in items:
            raise UserError(f"{where}: id: '{item.id}' is there twice; give each question its own")
        items[item.id] = item
    if not items:
        raise UserError(f"suite '{suite.name}': {suite.path} holds no question")
    return chosen(list(items.values()), suite.limit)


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

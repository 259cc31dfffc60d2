"""Rows of published files as questions: columns to fields, options to letters, one prompt."""

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.evaluate.questions import Choices, Fields, Questions
from dgr.files import sha256_text
from dgr.records import EvalItem
from dgr.tables import raw_rows

Row = Mapping[str, Any]
_PLACE = re.compile(r"\{(question|choices)\}")


def published_items(suite: Questions, fields: Fields, path: Path) -> Iterator[tuple[str, EvalItem]]:
    """Every wanted question of a file with its place, in the order of the file."""
    seen: set[str] = set()
    for number, (place, row) in enumerate(raw_rows(path), start=1):
        where = f"{path}, {place}"
        if not isinstance(row, Mapping):
            raise UserError(f"{where}: the row is not an object of columns and values")
        if not all(
            _value(row, column, where) == _shown(value) for column, value in suite.where.items()
        ):
            continue
        item = _item(suite, fields, row, f"{number}", where)
        if suite.unique and item.question in seen:
            continue
        seen.add(item.question)
        yield where, item


def _item(suite: Questions, fields: Fields, row: Row, number: str, where: str) -> EvalItem:
    question = _value(row, fields.question, where).strip()
    if not question:
        raise UserError(f"{where}: {fields.question}: it is empty")
    options, answer = _options(fields.choices, row, question, where), _answer(fields, row, where)
    if fields.choices and fields.choices.right:
        answer = string.ascii_uppercase[options.index(_value(row, fields.choices.right, where))]
    texts = {"question": question, "choices": _lettered(options)}
    return EvalItem(
        id=_value(row, fields.id, where) if fields.id else number,
        question=_PLACE.sub(lambda match: texts[match.group(1)], suite.prompt),
        family=_family(row, fields.family, where),
        level=_level(row, fields.level, where),
        answer=answer,
    )


def _answer(fields: Fields, row: Row, where: str) -> str | None:
    if fields.answer is None:
        return None
    text = _value(row, fields.answer, where)
    if fields.answer_after is not None:
        _, found, text = text.rpartition(fields.answer_after)
        if not found:
            raise UserError(f"{where}: {fields.answer}: it lacks the mark {fields.answer_after}")
    return text.strip()


def _options(choices: Choices | None, row: Row, question: str, where: str) -> list[str]:
    if choices is None:
        return []
    if choices.column is not None:
        found = row.get(choices.column)
        if not isinstance(found, Sequence) or isinstance(found, str) or len(found) < 2:
            raise UserError(f"{where}: {choices.column}: it is no list of options")
        return [str(option).strip() for option in found]
    columns = (str(choices.right), *choices.wrong)
    texts = [_value(row, column, where) for column in columns]
    if len(set(texts)) != len(texts):
        raise UserError(f"{where}: two options are the same, so no letter is the right one")
    return sorted(texts, key=lambda text: sha256_text(f"{question}\n{text}"))


def _lettered(options: Sequence[str]) -> str:
    letters = zip(string.ascii_uppercase, options, strict=False)
    return "\n".join(f"{letter}. {option}" for letter, option in letters)


def _family(row: Row, column: str | None, where: str) -> str:
    """A name; of a mapping of names to true or false, the names that hold."""
    found = row.get(column) if column else None
    if isinstance(found, Mapping):
        return ", ".join(sorted(str(name) for name, holds in found.items() if holds))
    return _value(row, column, where) if column else ""


def _level(row: Row, column: str | None, where: str) -> int | None:
    """The number in `5` or in `Level 5`; None where there is none, as in `Level ?`."""
    found = re.search(r"\d+", _value(row, column, where)) if column else None
    return int(found.group()) if found else None


def _value(row: Row, column: str, where: str) -> str:
    if column not in row:
        known = ", ".join(str(name) for name in row)
        raise UserError(f"{where}: {column}: there is no such column; the row has {known}")
    if row[column] is None:
        raise UserError(f"{where}: {column}: it is empty")
    return _shown(row[column])


def _shown(value: Any) -> str:
    """A value as text, JSON's true and a CSV file's `true` alike."""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()

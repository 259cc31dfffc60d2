"""One reader a published format: a raw row to a canonical sample.

A reader raises `RowError` with the field and what is wrong with it.
"""

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dgr.data.config import DataConfig
from dgr.records import Sample

Row = Mapping[str, Any]


SAFECHAIN_LABELS = {
    "vanilla_harmful": True,
    "vanilla_benign": False,
    "adversarial_harmful": True,
    "adversarial_benign": False,
}
"""SafeChain's labels, and whether the prompt is harmful."""


class RowError(Exception):
    """A row that cannot be read."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")


def read_row(row: Any, number: int, config: DataConfig) -> Sample:
    """The canonical sample of the `number`-th row (from 1)."""
    if not isinstance(row, Mapping):
        raise RowError("the row", "not a JSON object of fields and values")
    sample = FORMATS[config.format](row, config)
    origin = [source_name(config.source), sample.source]
    return sample.model_copy(
        update={
            "id": sample.id or f"{config.format}-{number}",
            "source": "/".join(filter(None, origin)),
            "licence": config.licence,
        }
    )


def source_name(source: str) -> str:
    """Name of a data set in records: a Hub id as it is, of a path only the file's name, so that
    records do not depend on where a machine keeps its files."""
    return source if source.startswith("hub:") else Path(source).name


def direct_refusal(row: Row, config: DataConfig) -> Sample:
    """DirectRefusal: refusals of harmful prompts, without traces of their own.

    Its `response` is the harmful answer and is never read; its `text` is rendered for one template
    and is not read either. `is_safe` speaks of the response, so a true one proves nothing about
    the prompt.
    """
    return Sample(
        id=_optional(row, "id"),
        question=_text(row, "prompt"),
        trace=config.constant_trace,
        answer=_text(row, "refusal"),
        category=_category(row),
        harmful=None if _flag(row, "is_safe") else True,
    )


def r1_act(row: Row, config: DataConfig) -> Sample:
    """R1-ACT: `instruction`, and a `response` that carries its trace.

    About a tenth of its prompts are harmless and no field says which: unless a `harmful` field
    was added, harmfulness is unknown (None). `DataConfig.label_judge` can tell.
    """
    trace, answer = split_response(_text(row, "response"))
    return Sample(
        id=_optional(row, "id"),
        question=_text(row, "instruction"),
        trace=trace,
        answer=answer,
        category=_category(row),
        harmful=_flag(row, "harmful"),
    )


def star1(row: Row, config: DataConfig) -> Sample:
    """STAR-1: every prompt is harmful; `category` is a list, or a string that holds one."""
    trace, answer = split_response(_text(row, "response"))
    return Sample(
        id=_optional(row, "id"),
        question=_text(row, "question"),
        trace=trace,
        answer=answer,
        category=_category(row),
        harmful=True,
        source=_optional(row, "source"),
    )


def safechain(row: Row, config: DataConfig) -> Sample:
    """SafeChain: the label's second half says whether the prompt is harmful."""
    label = _text(row, "label")
    if label not in SAFECHAIN_LABELS:
        raise RowError("label", f"'{label}' is none of {', '.join(SAFECHAIN_LABELS)}")
    trace, answer = split_response(_text(row, "response"))
    return Sample(
        id=_optional(row, "id"),
        question=_text(row, "instruction"),
        trace=trace,
        answer=answer,
        category=label,
        harmful=SAFECHAIN_LABELS[label],
    )


def plain(row: Row, config: DataConfig) -> Sample:
    """`question`, `trace`, `answer`; `id`, `category` and `harmful` where there are any."""
    trace = row.get("trace", "")
    if not isinstance(trace, str):
        raise RowError("trace", f"{type(trace).__name__} instead of a text")
    return Sample(
        id=_optional(row, "id"),
        question=_text(row, "question"),
        trace=_unicode("trace", trace),
        answer=_text(row, "answer"),
        category=_category(row),
        harmful=_flag(row, "harmful"),
    )


FORMATS: dict[str, Callable[[Row, DataConfig], Sample]] = {
    "direct-refusal": direct_refusal,
    "plain": plain,
    "r1-act": r1_act,
    "safechain": safechain,
    "star1": star1,
}


def split_response(response: str) -> tuple[str, str]:
    """`<think>trace</think>answer` in its parts: one block, at the start, nothing missing.

    With further tags nobody can say where the trace ends, and a part of it would be trained on as
    the answer. A set whose texts speak of the tags is read as `plain`.
    """
    before, opened, rest = response.partition("<think>")
    trace, closed, answer = rest.partition("</think>")
    if not opened or before.strip():
        raise RowError("response", "does not start with <think>")
    if not closed:
        raise RowError("response", "has no </think>")
    if "<think>" in rest or "</think>" in answer:
        raise RowError("response", "has more than one <think> or </think>")
    if not trace.strip():
        raise RowError("response", "has an empty trace")
    if not answer.strip():
        raise RowError("response", "has no answer after </think>")
    return trace.strip(), answer.strip()


def _text(row: Row, field: str) -> str:
    if field not in row:
        raise RowError(field, "missing")
    value = row[field]
    if not isinstance(value, str):
        raise RowError(field, f"{type(value).__name__} instead of a text")
    if not value.strip():
        raise RowError(field, "empty")
    return _unicode(field, value.strip())


def _optional(row: Row, field: str) -> str:
    value = row.get(field)
    return "" if value is None else _unicode(field, str(value))


def _unicode(field: str, text: str) -> str:
    """JSON can spell half a surrogate pair, which no UTF-8 file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RowError(field, "holds half a surrogate pair, which is no Unicode text") from None
    return text


def _flag(row: Row, field: str) -> bool | None:
    value = row.get(field)
    if value is not None and not isinstance(value, bool):
        raise RowError(field, "neither true nor false")
    return value


def _category(row: Row) -> str:
    """One category, or several joined by commas.

    Sets hold a name, a list of names, a list written as text (`"['Violence']"`), or a true or
    false for every name.
    """
    value = row.get("category")
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return _unicode("category", value)
    if isinstance(value, Mapping):
        value = [name for name, holds in value.items() if holds]
    if isinstance(value, list):
        return _unicode("category", ", ".join(map(str, value)))
    return _optional(row, "category")

"""Training rows as token ids and labels. Nothing is cut: a row fits, is dropped, or is an error."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dgr.errors import UserError
from dgr.records import TrainingRow
from dgr.thinking import ChatFormat

IGNORED = -100
"""The label of a token that carries no loss (the ignore_index of torch's cross entropy)."""


@dataclass(frozen=True)
class EncodedRow:
    """One row's tokens. `labels` equal `input_ids` over the completion, IGNORED before it."""

    id: str
    input_ids: list[int]
    labels: list[int]

    @property
    def tokens(self) -> int:
        return len(self.input_ids)

    @property
    def supervised(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def encode_row(chat: ChatFormat, row: TrainingRow) -> EncodedRow:
    """The prompt as context, then trace and answer (closing tags included) with loss."""
    prompt = list(chat.prompt_ids(row.question))
    completion = [*chat.completion_ids(row.trace, row.answer)]
    return EncodedRow(
        id=row.id,
        input_ids=prompt + completion,
        labels=[IGNORED] * len(prompt) + completion,
    )


def encode_rows(
    chat: ChatFormat,
    rows: Iterable[TrainingRow],
    limit: int | None,
    on_long_row: Literal["fail", "drop"],
) -> tuple[list[EncodedRow], list[str]]:
    """Every row that fits `limit` tokens, and the ids of those that were dropped."""
    encoded: list[EncodedRow] = []
    dropped: list[str] = []
    for row in rows:
        result = encode_row(chat, row)
        if limit is None or result.tokens <= limit:
            encoded.append(result)
        elif on_long_row == "drop":
            dropped.append(row.id)
        else:
            raise UserError(
                f"row {row.id} has {result.tokens:,} tokens and at most {limit:,} fit; "
                "raise sft.max_length (up to the model's context) or set sft.on_long_row: drop"
            )
    return encoded, dropped


def longest(rows: Sequence[EncodedRow]) -> EncodedRow:
    return max(rows, key=lambda row: row.tokens)

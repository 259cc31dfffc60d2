"""What a model will be trained on, for people to read before any training."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from dgr.sft.rows import IGNORED, EncodedRow

WIDTH = 100


def render(row: EncodedRow, tokenizer: Any) -> str:
    """Tokens of one row, parted by `|`, in blocks with and without loss.

    A special token is set in «», so text that merely looks like one can be told apart; control
    characters are escaped.
    """
    heading = f"{row.id}: {row.tokens:,} tokens, {row.supervised:,} with loss"
    return "\n".join([heading, *_blocks(row, tokenizer)])


def _blocks(row: EncodedRow, tokenizer: Any) -> Iterator[str]:
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    pairs = zip(row.input_ids, row.labels, strict=True)
    for ignored, block in groupby(pairs, key=lambda pair: pair[1] == IGNORED):
        tokens = [_show(index, tokenizer, index in special) for index, _ in block]
        name = "context, no loss" if ignored else "completion, loss"
        yield f"  [{name}: {len(tokens):,} tokens]"
        yield from _lines(tokens)


def _lines(tokens: list[str]) -> Iterator[str]:
    """Tokens parted by `|`, in lines of about WIDTH characters."""
    line = ""
    for token in tokens:
        if line and len(line) + len(token) >= WIDTH:
            yield f"    {line}|"
            line = token
        else:
            line = f"{line}|{token}" if line else token
    yield f"    {line}"


def _show(index: int, tokenizer: Any, special: bool) -> str:
    text = tokenizer.decode([index], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    shown = text if text.isprintable() else repr(text)[1:-1]
    return f"«{shown}»" if special else shown

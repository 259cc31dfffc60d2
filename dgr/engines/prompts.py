"""Whole prompts as token ids: markup may be special tokens, text never is.

A tokenizer splits a text at its special tokens before anything else, so tokenising what lies
between them apart, markup and text together, gives the ids of the whole.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dgr.engines.base import Piece


def encode(tokenizer: Any, pieces: Sequence[Piece]) -> list[int]:
    """The ids of a prompt, without any token that its markup does not name.

    A prompt that has no special token but those of its markup is tokenised in one go, as its
    model's authors did.
    """
    special = _special(tokenizer)
    whole = "".join(piece.text for piece in pieces)
    meant = sum(len(special.findall(piece.text)) for piece in pieces if piece.markup)
    if len(special.findall(whole)) == meant:
        return _ids(tokenizer, whole, as_text=False)
    ids: list[int] = []
    for text, is_token in _spans(special, pieces):
        ids += _ids(tokenizer, text, as_text=not is_token)
    return ids


def _special(tokenizer: Any) -> re.Pattern[str]:
    """Any special or added token; the longest first, as one may begin like another."""
    tokens = {token.content for token in tokenizer.added_tokens_decoder.values()}
    tokens |= set(tokenizer.all_special_tokens)
    escaped = [re.escape(token) for token in sorted(tokens, key=len, reverse=True) if token]
    return re.compile("|".join(escaped) or r"(?!)")


def _spans(special: re.Pattern[str], pieces: Sequence[Piece]) -> Iterator[tuple[str, bool]]:
    """Special tokens of the markup, and all that lies between two of them in one."""
    plain = ""
    for piece in pieces:
        end = 0
        for found in special.finditer(piece.text) if piece.markup else ():
            yield plain + piece.text[end : found.start()], False
            yield found.group(), True
            plain, end = "", found.end()
        plain += piece.text[end:]
    yield plain, False


def _ids(tokenizer: Any, text: str, as_text: bool) -> list[int]:
    if not text:
        return []
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=as_text)
    return list(encoded["input_ids"])

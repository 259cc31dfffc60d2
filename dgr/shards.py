"""A step's rows over several processes or machines, each of which does every n-th.

    dgr refine ... --shard 1/4 --out part-1
    ...
    dgr merge part-1 part-2 part-3 part-4 --out refined

Rows in turn, not in blocks, so that no shard gets the long ones of a sorted set. A run does the
same where its config's section `shards` says so.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from pydantic import Field

from dgr.errors import UserError
from dgr.settings import Settings

ItemT = TypeVar("ItemT")

MOST = 10_000


class ShardsConfig(Settings):
    """In how many parts a run does a step. The merged step has the bytes of the whole one, so the
    numbers are no part of any step's own config."""

    refine: int = Field(default=1, ge=1, le=1_000)
    """Parts of the refinement."""
    evaluate: int = Field(default=1, ge=1, le=1_000)
    """Parts of each evaluation: of the base, of the champion, and of every arm."""


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard | None":
        """`2/4`; None for the whole: an empty text or `1/1`."""
        if not text:
            return None
        found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        index, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= index <= count <= MOST:
            raise UserError(f"shard {text!r}: write it as i/n with i from 1 to n, for example 2/4")
        return cls(index, count) if count > 1 else None

    @classmethod
    def all(cls, count: int) -> "list[Shard]":
        """Every part of so many."""
        return [cls(index, count) for index in range(1, count + 1)]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def places(shard: Shard | None, done: int = 0) -> slice:
    """Where the items stand that a step has to do, of which it has `done` so many."""
    if shard is None:
        return slice(done, None)
    return slice(shard.index - 1 + done * shard.count, None, shard.count)


def share(items: Iterable[ItemT], shard: Shard | None) -> Iterator[ItemT]:
    """The items that a step has to do."""
    where = places(shard)
    return islice(items, where.start, None, where.step)

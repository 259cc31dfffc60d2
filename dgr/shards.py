"""A step's rows over several processes or machines, each of which does every n-th.

    dgr refine ... --shard 1/4 --out part-1
    ...
    dgr merge part-1 part-2 part-3 part-4 --out refined

Rows in turn, not in blocks, so that no shard gets the long ones of a sorted set.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from dgr.errors import UserError

ItemT = TypeVar("ItemT")

MOST = 10_000


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

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Iterable[ItemT]) -> Iterator[ItemT]:
        """The items of this part."""
        return islice(items, self.index - 1, None, self.count)


def share(items: Iterable[ItemT], shard: Shard | None) -> Iterator[ItemT]:
    """The items that a step has to do."""
    return iter(items) if shard is None else shard.of(items)

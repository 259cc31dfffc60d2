"""Work as it becomes known: an item may hang on the result of another that is under way."""

from collections.abc import Iterable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")

_END = object()


class Source(Generic[ItemT]):
    """Items one by one. None among them: the next one is not known yet."""

    def __init__(self, items: Iterable[ItemT | None]) -> None:
        self._items = iter(items)
        self.more = True
        """Whether there may be another."""

    def next(self, under_way: int) -> ItemT | None:
        """The next item. None: there is none before another result has come, or none at all.

        What hangs on a result comes with it, so with nothing under way None is the end.
        """
        found = next(self._items, _END)
        if found is _END or (found is None and not under_way):
            self.more = False
            return None
        return found  # type: ignore[return-value]  # mypy does not know that it is not _END

    def known(self) -> list[ItemT]:
        """All that hang on no result still to come; none: it is the end."""
        found: list[ItemT] = []
        while (item := self.next(len(found))) is not None:
            found.append(item)
        return found

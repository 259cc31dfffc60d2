"""Rows that wait for a place in the batch of the transformers engine."""

from collections.abc import Callable, Iterable
from pathlib import Path

from dgr.engines.base import Request, Requests
from dgr.engines.batch import Row
from dgr.engines.source import Source


class Waiting:
    """Rows of one adapter at a time, the shortest first, so that a batch needs little padding.

    At most `most` wait; requests are taken in when no more than half of them are left.
    """

    def __init__(self, requests: Requests, most: int, row_of: Callable[[Request], Row]) -> None:
        self._source, self._most, self._row_of = Source(requests), most, row_of
        self._rows: dict[Path | None, list[Row]] = {}
        """By adapter, the shortest last."""
        self.adapter: Path | None = None
        """The adapter of the rows that are taken."""

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def turn(self) -> bool:
        """Turn to the first adapter of which a row waits; False: there is nothing left to do."""
        self._fill(running=0)
        if self._rows:
            self.adapter = next(iter(self._rows))
        return bool(self._rows)

    def take(self, count: int, running: int, least: float = 0) -> list[Row]:
        """Rows of the adapter, at most `count`, and none where they are fewer than `least`.

        `running` are those taken and not finished.
        """
        self._fill(running)
        rows = self._rows.get(self.adapter, [])
        if len(rows) < least:
            return []
        taken = [rows.pop() for _ in range(min(count, len(rows)))]
        if not rows:
            self._rows.pop(self.adapter, None)
        return taken

    def put_back(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._rows.setdefault(row.request.adapter, []).append(row)
        for waiting in self._rows.values():
            waiting.sort(key=lambda row: row.length, reverse=True)

    def _fill(self, running: int) -> None:
        found: list[Row] = []
        waiting = len(self)
        if self._source.more and waiting <= self._most // 2:
            while waiting + len(found) < self._most:
                request = self._source.next(running + waiting + len(found))
                if request is None:
                    break
                found.append(self._row_of(request))
        if found:
            self.put_back(found)

"""Records that are on disk soon after they are made, and found again after a crash.

Memory holds no record of either kind:

    Journal   unfinished work in any order, each record found by its key
    Ledger    finished records in their final order: what a restart counts and does not do again
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from dgr.files import unwritable

SYNC_SECONDS = 0.5
"""A line is the kernel's soon after it is added, and safe from its crash after so long."""
BLOCK = 1 << 20
"""Bytes that are written at once, and that wait at most."""

RowT = TypeVar("RowT")
"""A record, or a dataclass."""


class Journal(Generic[RowT]):
    """Records by key, in a file of lines; `rows` reads one when it is asked for."""

    def __init__(self, path: Path, kind: type[RowT], key: Callable[[RowT], str]) -> None:
        self._lines, self._rows, self._key = _Lines(path), TypeAdapter(kind), key
        self._places: dict[str, tuple[int, int]] = {}
        for place, line, row in self._lines.recover(self._rows):
            self._places[key(row)] = place, len(line)
        self.rows: Mapping[str, RowT] = _Rows(self._lines, self._places, self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, row: RowT) -> None:
        line = self._rows.dump_json(row) + b"\n"
        self._places[self._key(row)] = self._lines.append(line), len(line)

    def clear(self) -> None:
        """Forget all: what the records were for is finished."""
        self._places.clear()
        self._lines.truncate(0)

    def close(self) -> None:
        self._lines.close()


class _Rows(Mapping[str, RowT]):
    """The records of a journal, each read from the file when it is asked for."""

    def __init__(
        self, lines: "_Lines", places: Mapping[str, tuple[int, int]], rows: TypeAdapter[RowT]
    ) -> None:
        self._lines, self._places, self._rows = lines, places, rows

    def __getitem__(self, key: str) -> RowT:
        place, length = self._places[key]
        return self._rows.validate_json(self._lines.read(place, length))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Ledger(Generic[RowT]):
    """Finished records in their final order, added a whole window of `window` rows at a time.

    A restart finds whole windows alone, so that every window is made of the same rows again.
    """

    def __init__(self, path: Path, kind: type[RowT], window: int) -> None:
        self._lines, self._rows = _Lines(path), TypeAdapter(kind)
        self.count = 0
        whole = 0
        for place, line, _ in self._lines.recover(self._rows):
            self.count += 1
            if self.count % window == 0:
                whole = place + len(line)
        self.count -= self.count % window
        self._lines.truncate(whole)

    def __iter__(self) -> Iterator[RowT]:
        for line in self._lines:
            yield self._rows.validate_json(line)

    def extend(self, rows: Iterable[RowT]) -> None:
        lines = [self._rows.dump_json(row) + b"\n" for row in rows]
        self._lines.append(b"".join(lines))
        self.count += len(lines)

    def blocks(self) -> Iterator[bytes]:
        """The file as it is."""
        for place in range(0, self._lines.size, BLOCK):
            yield self._lines.read(place, BLOCK)

    def close(self) -> None:
        self._lines.close()


class _Lines:
    """A file that grows by whole lines, which are written and synced beside the work.

    `size` counts those that are still to be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise unwritable(path, error) from error
        self.size = self._written = os.fstat(self._file).st_size
        self._waiting: list[bytes] = []
        self._unsynced = False
        self._problem: OSError | None = None
        self._lock, self._more, self._closed = threading.Lock(), threading.Event(), False
        self._writing = threading.Thread(target=self._write_beside, daemon=True)
        self._writing.start()

    def __iter__(self) -> Iterator[bytes]:
        self._flush()
        with self._path.open("rb") as file:
            yield from file

    def recover(self, rows: TypeAdapter[RowT]) -> Iterator[tuple[int, bytes, RowT]]:
        """Every whole line with its place; what a crash cut is dropped, with all after it."""
        place = 0
        for line in self:
            try:
                row = rows.validate_json(line)
            except ValidationError:
                break
            if not line.endswith(b"\n"):
                break
            yield place, line, row
            place += len(line)
        self.truncate(place)

    def append(self, data: bytes) -> int:
        """Add whole lines; the place of the first is returned."""
        with self._lock:
            place = self.size
            self._waiting.append(data)
            self.size += len(data)
        if not self._more.is_set():
            self._more.set()
        if self._problem or self.size - self._written >= BLOCK:
            self._flush()
        return place

    def read(self, place: int, length: int) -> bytes:
        self._flush()
        return os.pread(self._file, length, place)

    def truncate(self, size: int) -> None:
        self._flush()
        if size < self.size:
            os.ftruncate(self._file, size)
            self.size = self._written = size

    def close(self) -> None:
        self._closed = True
        self._more.set()
        self._writing.join()
        os.close(self._file)

    def _flush(self) -> None:
        try:
            self._write()
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _write(self) -> None:
        """Write what waits; what a full disk does not take is lost, and whoever adds or reads is
        told."""
        with self._lock:
            if self._problem:
                raise self._problem
            if not self._waiting:
                return
            data, self._waiting = b"".join(self._waiting), []
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError as error:
                self._problem = error
                raise
            self._written, self._unsynced = self.size, True

    def _write_beside(self) -> None:
        """Write what waits as soon as the work leaves time for it, and sync it now and then."""
        synced = time.monotonic()
        while not self._closed:
            self._more.wait(SYNC_SECONDS)
            self._more.clear()
            self._attempt(self._write)
            if time.monotonic() - synced >= SYNC_SECONDS:
                self._attempt(self._sync)
                synced = time.monotonic()
        self._attempt(self._write)
        self._attempt(self._sync)

    def _sync(self) -> None:
        if self._unsynced:
            self._unsynced = False
            os.fsync(self._file)

    def _attempt(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            self._problem = error

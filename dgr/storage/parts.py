"""How a file is cut into parts, and how parts are worked on at once in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from dgr.progress import Progress

MIB = 1 << 20
PART = 8 * MIB
MOST_PARTS = 10_000
"""S3's own limit on the parts of an upload."""
MEMORY = 96 * MIB
"""What the parts of one transfer may hold together."""
CORES = len(os.sched_getaffinity(0))
SHOWN_FROM = 256 * MIB
"""Progress of smaller files is not worth a line."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Cut:
    """One part of a file."""

    number: int
    """From 1, as S3 counts."""
    start: int
    length: int


def part_size(size: int) -> int:
    """8 MiB up to 78 GiB; doubled as long as a file would have too many parts."""
    part = PART
    while part * MOST_PARTS < size:
        part *= 2
    return part


def cut(size: int) -> list[Cut]:
    part = part_size(size)
    starts = range(0, size, part)
    return [Cut(number, at, min(part, size - at)) for number, at in enumerate(starts, start=1)]


def in_order(
    work: Callable[[ItemT], ResultT], items: Iterable[ItemT], part: int, most: int | None = None
) -> Iterator[ResultT]:
    """`work` of every item on threads, `most` at once, the results in order.

    At most as many items are held as parts of that size fit into MEMORY: those at work, one that
    waits, and the one that is being made.
    """
    room = max(1, MEMORY // part - 2)
    workers = room if most is None else min(most, room)
    ahead: deque[Future[ResultT]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="dgr-part") as pool:
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


@contextmanager
def shown(label: str, size: int) -> Iterator[Callable[[int], None]]:
    """Progress of a large file; gives the function that counts finished bytes."""
    if size <= SHOWN_FROM:
        yield lambda _: None
        return
    with Progress(label, -(-size // MIB), unit="MiB") as progress:
        yield lambda length: progress.advance(-(-length // MIB))

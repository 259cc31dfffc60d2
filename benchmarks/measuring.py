"""What the benchmarks share: alternating runs, ratios and their spread, machine, tables."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from dgr.files import write_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], pairs: int
) -> tuple[list[float], list[float]]:
    """What both give, run in turn; who goes first changes from pair to pair."""
    found: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for place in (0, 1) if pair % 2 == 0 else (1, 0):
            found[place].append((ours, theirs)[place]())
    return found


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, least and most."""
    return (
        f"{statistics.median(values):,.{digits}f} "
        f"[{min(values):,.{digits}f}, {max(values):,.{digits}f}]"
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, pair by pair."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(*packages: str) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    names = [f"{name} {version(name)}" for name in packages]
    return ", ".join(
        [
            f"{date.today()}: {os.cpu_count()} cores ({platform.machine()})",
            f"{memory:.0f} GiB of memory",
            f"load {os.getloadavg()[0]:.1f}",
            f"Python {platform.python_version()}",
            *names,
        ]
    )


def report(name: str, text: str, write: bool) -> None:
    """Print the result, and put it at its place in docs/benchmarks.md."""
    print(text)
    if not write:
        return
    if not put(PAGE, name, text):
        raise SystemExit(f"{PAGE} has no place for {name}")


def put(page: Path, name: str, text: str) -> bool:
    """Put a text between the two comments that mark its place; False: the page has none."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = page.read_text().partition(begin)
    if found:
        write_text(page, f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
    return bool(found)

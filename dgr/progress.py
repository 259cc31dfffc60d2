"""Progress of long work: a rate and the time left, on standard error.

A terminal sees one line that is redrawn; a log sees a plain line now and then.
"""

import sys
import time

LOG_EVERY_SECONDS = 10.0
DRAW_EVERY_SECONDS = 0.2


class Progress:
    """Counts finished items of a known total. Use as a context manager."""

    def __init__(self, label: str, total: int, unit: str = "items") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._started = time.monotonic()
        self._shown = self._started
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._show(final=True)

    def advance(self, count: int = 1) -> None:
        self.done += count
        pause = DRAW_EVERY_SECONDS if self._terminal else LOG_EVERY_SECONDS
        if time.monotonic() - self._shown >= pause:
            self._show()

    def _show(self, final: bool = False) -> None:
        self._shown = time.monotonic()
        elapsed = self._shown - self._started
        rate = self.done / elapsed if elapsed > 0 else 0.0
        text = f"{self.label}: {self.done:,} of {self.total:,} {self.unit}, {rate:,.1f}/s"
        if final:
            text += f", {elapsed:.1f} s"
        elif rate > 0:
            text += f", {(self.total - self.done) / rate:.0f} s left"
        start, end = ("\r\x1b[K", "\n" if final else "") if self._terminal else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

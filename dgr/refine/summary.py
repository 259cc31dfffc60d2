"""What refinement came to, counted row by row: memory does not grow with the rows."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from dgr.records import RefinedSample, Refinement
from dgr.stats import mean_of_counts, share


class Summary:
    """Fallback rates and, per component, reasons, tokens, and lengths before and after."""

    def __init__(self, rows: Iterable[RefinedSample] = ()) -> None:
        self._rows = self._fallbacks = self._refined = 0
        self._parts = {"trace": _Part(), "answer": _Part()}
        self.add(rows)

    def add(self, rows: Iterable[RefinedSample]) -> None:
        for row in rows:
            self._rows += 1
            self._fallbacks += row.trace.text is None or row.answer.text is None
            self._refined += _rewritten(row.trace) and _rewritten(row.answer)
            self._parts["trace"].add(row.trace)
            self._parts["answer"].add(row.answer)

    def figures(self) -> dict[str, Any]:
        """`fallback_rate` is the share of rows with a component that no candidate replaced,
        `fully_refined` the share of those whose components were both rewritten."""
        return {
            "rows": self._rows,
            "fallback_rate": share(self._fallbacks, self._rows),
            "fully_refined": share(self._refined, self._rows),
            "components": {name: part.figures() for name, part in self._parts.items()},
        }


class _Part:
    """One component of all rows."""

    def __init__(self) -> None:
        self.found = self.left_empty = self.candidates = self.fallbacks = 0
        self.tokens = self.prompt_tokens = 0
        self.failed: Counter[str] = Counter()
        self.last: Counter[str] = Counter()
        self.before: Counter[float] = Counter()
        self.after: Counter[float] = Counter()

    def add(self, row: Refinement) -> None:
        self.found += 1
        self.candidates += row.candidates
        self.tokens += row.tokens
        self.prompt_tokens += row.prompt_tokens
        if row.reasons:
            self.failed.update(row.reasons)
        if row.text is None:
            self.fallbacks += 1
            self.last[row.reasons[-1]] += 1
        elif row.candidates:
            self.before[len(row.original)] += 1
            self.after[len(row.text)] += 1
        else:
            self.left_empty += 1

    def figures(self) -> dict[str, Any]:
        """`characters` compares the components that were rewritten with what they were before."""
        return {
            "fallback_rate": share(self.fallbacks, self.found - self.left_empty),
            "left_empty": self.left_empty,
            "candidates": self.candidates,
            "failed_candidates": dict(sorted(self.failed.items())),
            "fallbacks": dict(sorted(self.last.items())),
            "tokens": self.tokens,
            "prompt_tokens": self.prompt_tokens,
            "characters": {
                "original": mean_of_counts(self.before),
                "refined": mean_of_counts(self.after),
            },
        }


def _rewritten(part: Refinement) -> bool:
    return part.text is not None and part.candidates > 0

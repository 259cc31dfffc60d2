"""What refinement came to, counted row by row: memory does not grow with the rows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import reduce
from typing import Any, TypeVar

from pydantic import TypeAdapter

from dgr.records import RefinedSample, Refinement
from dgr.stats import mean_of_counts, share

CountsT = TypeVar("CountsT")


@dataclass
class Part:
    """One component of all rows."""

    found: int = 0
    left_empty: int = 0
    candidates: int = 0
    fallbacks: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Reasons of all candidates that failed."""
    last: Counter[str] = field(default_factory=Counter)
    """The last reason of each component that fell back."""
    before: Counter[float] = field(default_factory=Counter)
    """Lengths, in characters, of what was rewritten, and how often each occurred."""
    after: Counter[float] = field(default_factory=Counter)

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


@dataclass
class Summary:
    """Fallback rates and, per component, reasons, tokens, and lengths before and after."""

    rows: int = 0
    fallbacks: int = 0
    refined: int = 0
    trace: Part = field(default_factory=Part)
    answer: Part = field(default_factory=Part)

    @classmethod
    def together(cls, counts: Iterable[Mapping[str, Any]]) -> "Summary":
        """That of all rows, from the `counts` of parts of them."""
        return reduce(_sum, map(_SUMMARY.validate_python, counts), cls())

    def add(self, rows: Iterable[RefinedSample]) -> None:
        for row in rows:
            self.rows += 1
            self.fallbacks += row.trace.text is None or row.answer.text is None
            self.refined += _rewritten(row.trace) and _rewritten(row.answer)
            self.trace.add(row.trace)
            self.answer.add(row.answer)

    def counts(self) -> dict[str, Any]:
        """What `together` takes."""
        counts: dict[str, Any] = _SUMMARY.dump_python(self)
        return counts

    def figures(self) -> dict[str, Any]:
        """`fallback_rate` is the share of rows with a component that no candidate replaced,
        `fully_refined` the share of those whose components were both rewritten."""
        return {
            "rows": self.rows,
            "fallback_rate": share(self.fallbacks, self.rows),
            "fully_refined": share(self.refined, self.rows),
            "components": {"trace": self.trace.figures(), "answer": self.answer.figures()},
        }


_SUMMARY = TypeAdapter(Summary)


def _sum(one: CountsT, other: CountsT) -> CountsT:
    """Two of the dataclasses above, added field by field."""
    added = {
        name: _sum(value, getattr(other, name))
        if is_dataclass(value)
        else value + getattr(other, name)
        for name, value in vars(one).items()
    }
    return type(one)(**added)


def _rewritten(part: Refinement) -> bool:
    return part.text is not None and part.candidates > 0

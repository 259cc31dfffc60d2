"""Estimates over token sums, and distributions of lengths."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dgr.stats import CONFIDENCE, RESAMPLES, UNKNOWN, Estimate

Floats = npt.NDArray[np.float64]
BLOCK = 100
"""Resamples that are held in memory at a time."""


class TokenMeans:
    """Means over tokens with percentile bootstrap intervals over prompts.

    The mean over tokens is a ratio estimator, (sum of values) / (number of tokens), each summed
    over prompts: a long completion counts for as many tokens as it has (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, section 10.3). Every figure is drawn from the same
    resamples of prompts, so differences between two sets are paired. A prompt that a set lacks
    has 0 tokens in it.
    """

    def __init__(self, prompts: int, seed: int) -> None:
        self.prompts, self.seed = prompts, seed

    def mean(self, sums: Floats, tokens: Floats) -> Estimate:
        """Sum of values and number of tokens, one a prompt, shape (prompts,)."""
        return self._estimate(lambda weights: _ratio(weights, sums, tokens), tokens > 0)

    def difference(
        self, sums: Floats, tokens: Floats, other_sums: Floats, other_tokens: Floats
    ) -> Estimate:
        """Mean of one set minus mean of another, over the prompts that both have."""
        both = (tokens > 0) & (other_tokens > 0)

        def statistic(weights: Floats) -> Floats:
            shared = weights * both
            return _ratio(shared, sums, tokens) - _ratio(shared, other_sums, other_tokens)

        return self._estimate(statistic, both)

    def _estimate(self, statistic: Any, present: npt.NDArray[np.bool_]) -> Estimate:
        n = int(present.sum())
        value = float(statistic(np.ones((1, self.prompts)))[0]) if n else np.nan
        if not np.isfinite(value):
            return UNKNOWN
        rng = np.random.default_rng(self.seed)
        draws = np.concatenate(
            [
                statistic(self._weights(rng, min(BLOCK, RESAMPLES - start)))
                for start in range(0, RESAMPLES, BLOCK)
            ]
        )
        tail = 100 * (1 - CONFIDENCE) / 2
        # A resample without a single token of the set says nothing about it.
        low, high = np.nanpercentile(draws, [tail, 100 - tail])
        return Estimate(value=value, low=float(low), high=float(high), n=n)

    def _weights(self, rng: np.random.Generator, resamples: int) -> Floats:
        """How often each prompt was drawn, shape (resamples, prompts)."""
        even = np.full(self.prompts, 1 / self.prompts)
        return rng.multinomial(self.prompts, even, size=resamples).astype(float)


def _ratio(weights: Floats, sums: Floats, tokens: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        ratio: Floats = (weights @ sums) / (weights @ tokens)
    return ratio


def length_distribution(tokens: Sequence[int], edges: Floats) -> dict[str, Any]:
    """Mean, median, tenth and ninetieth percentile, and a histogram, in tokens."""
    if not len(tokens):
        return {"n": 0}
    array = np.asarray(tokens, dtype=float)
    p10, median, p90 = (float(value) for value in np.percentile(array, [10, 50, 90]))
    return {
        "n": len(array),
        "mean": float(array.mean()),
        "median": median,
        "p10": p10,
        "p90": p90,
        "histogram": {
            "edges": edges.tolist(),
            "counts": np.histogram(array, bins=edges)[0].tolist(),
        },
    }


def shared_edges(lengths: Iterable[Sequence[int]], bins: int) -> Floats:
    """Bin edges that suit all of the distributions, so that they can be laid over each other."""
    longest = max((max(values) for values in lengths if len(values)), default=1)
    return np.linspace(0, max(longest, 1), bins + 1)


def draw(items: Sequence[Any], most: int | None, seed: int) -> list[Any]:
    """At most `most` of the items, without replacement, in their own order."""
    if most is None or len(items) <= most:
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), size=most, replace=False)
    return [items[index] for index in sorted(chosen)]

"""Estimates with intervals. Questions are the unit of chance; their samples are clustered.

Every figure that this project reports is an `Estimate`. A figure that cannot be computed is NaN
with n = 0, never a guess: the gate fails on it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict

CONFIDENCE = 0.95
RESAMPLES = 2_000
AT_ONCE = 1 << 22
"""Counts that a bootstrap of counted values draws at once."""


Figure = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float that JSON holds as null when it is not a number."""


class Estimate(BaseModel):
    """A value, its two-sided 95 % interval, and the number of independent units behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Figure
    low: Figure
    high: Figure
    n: int

    @property
    def known(self) -> bool:
        return self.n > 0 and all(map(math.isfinite, (self.value, self.low, self.high)))


UNKNOWN = Estimate(value=math.nan, low=math.nan, high=math.nan, n=0)


def proportion(clusters: Iterable[Sequence[float]]) -> Estimate:
    """Mean of outcomes in [0, 1], sampled several times a question.

    The interval is Clopper and Pearson's (Biometrika 26, 1934) on the number of *questions*, with
    fractional successes: it treats the samples of a question as one, which is the widest that
    clustering can make it, and it stays honest at 0 and 1, where a bootstrap has no width.
    """
    means = [float(np.mean(cluster)) for cluster in clusters if len(cluster)]
    n = len(means)
    if n == 0 or not all(map(math.isfinite, means)):
        return UNKNOWN
    return share(float(np.sum(means)), n)


def share(successes: float, n: int) -> Estimate:
    """The same from counts alone: so many of n questions."""
    from scipy.stats import beta

    if n == 0:
        return UNKNOWN
    tail = (1 - CONFIDENCE) / 2
    failures = n - successes
    low = float(beta.ppf(tail, successes, failures + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, failures)) if failures > 0 else 1.0
    return Estimate(value=successes / n, low=low, high=high, n=n)


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of independent values with a percentile bootstrap interval."""
    return macro_mean({"": values}, seed)


def mean_of_counts(counts: Mapping[float, int], seed: int = 0) -> Estimate:
    """Mean of values of which each occurs so often, for more of them than memory should hold.

    A bootstrap sample of n values is a draw from a multinomial distribution over the values.
    """
    n = sum(counts.values())
    if n == 0:
        return UNKNOWN
    values = np.asarray(sorted(counts), dtype=float)
    shares = np.asarray([counts[value] for value in sorted(counts)], dtype=float) / n
    rng = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // len(values))
    draws = np.concatenate(
        [
            rng.multinomial(n, shares, size=min(at_once, RESAMPLES - start)) @ values / n
            for start in range(0, RESAMPLES, at_once)
        ]
    )
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(value=float(values @ shares), low=float(low), high=float(high), n=n)


def macro_mean(strata: Mapping[str, Sequence[float]], seed: int = 0) -> Estimate:
    """Unweighted mean of the strata's means, each stratum resampled within itself.

    `strata` maps a family to one value a question (the mean of its samples, or a paired
    difference). The interval is a percentile bootstrap over questions; n counts questions.
    """
    arrays = [np.asarray(values, dtype=float) for values in strata.values()]
    n = int(sum(len(array) for array in arrays))
    if not arrays or any(len(array) == 0 or not np.isfinite(array).all() for array in arrays):
        return UNKNOWN
    rng = np.random.default_rng(seed)
    draws = np.zeros(RESAMPLES)
    for array in arrays:
        draws += array[rng.integers(0, len(array), size=(RESAMPLES, len(array)))].mean(axis=1)
    draws /= len(arrays)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    value = float(np.mean([array.mean() for array in arrays]))
    return Estimate(value=value, low=float(low), high=float(high), n=n)

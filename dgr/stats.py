"""Estimates with intervals. Questions are the unit of chance; their samples are clustered.

Every figure that this project reports is an `Estimate`. A figure that cannot be computed is NaN
with n = 0, never a guess: the gate fails on it.

Which interval, and why:

- a share of questions, small or large n: Clopper and Pearson's, exact (`proportion`);
- a mean of bounded values, as accuracy over families or a paired difference: a Bayesian bootstrap
  that is that very interval where values lie at the ends, and the usual bootstrap where there are
  many questions (`bounded_mean`);
- a mean of unbounded values, as tokens: the percentile bootstrap, widened for small n (`mean`).

How often they hold the truth is tested by simulation (tests/test_stats.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict

CONFIDENCE = 0.95
RESAMPLES = 2_000
AT_ONCE = 1 << 22
"""Counts that a bootstrap of counted values draws at once."""


Figure = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float that JSON holds as null when it is not a number."""


class Estimate(BaseModel):
    """A value, its two-sided interval (95 % where nothing else is said), and the number of
    independent units behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Figure
    low: Figure
    high: Figure
    n: int

    @property
    def known(self) -> bool:
        return self.n > 0 and all(map(math.isfinite, (self.value, self.low, self.high)))


UNKNOWN = Estimate(value=math.nan, low=math.nan, high=math.nan, n=0)


def proportion(clusters: Iterable[Sequence[float]], confidence: float = CONFIDENCE) -> Estimate:
    """Mean of outcomes in [0, 1], sampled several times a question.

    The interval is Clopper and Pearson's (Biometrika 26, 1934) on the number of *questions*, with
    fractional successes: it treats the samples of a question as one, which is the widest that
    clustering can make it, and it stays honest at 0 and 1, where a bootstrap has no width.
    """
    means = [sum(cluster) / len(cluster) for cluster in clusters if len(cluster)]
    n = len(means)
    if n == 0 or not all(map(math.isfinite, means)):
        return UNKNOWN
    return share(float(sum(means)), n, confidence)


def share(successes: float, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """The same from counts alone: so many of n questions."""
    from scipy.stats import beta

    if n == 0:
        return UNKNOWN
    tail = (1 - confidence) / 2
    failures = n - successes
    low = float(beta.ppf(tail, successes, failures + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, failures)) if failures > 0 else 1.0
    return Estimate(value=successes / n, low=low, high=high, n=n)


def bounded_mean(
    strata: Mapping[str, Sequence[float]],
    floor: float,
    ceiling: float,
    *,
    weights: Mapping[str, float] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimate:
    """Weighted mean of the strata's means of values in [floor, ceiling], one value a question.

    `weights` defaults to equal ones, and need not sum to 1. The interval holds quantiles of the
    Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981) over the questions of each stratum; for
    either bound, one imagined question at that bound's own end, shared among the strata, is added.
    For one stratum of values at the ends that is Clopper and Pearson's interval, which is made of
    two such beta-binomials; so it holds for small n and rare outcomes, where the normal interval
    fails (Bowyer et al., arXiv 2503.01747), and never claims certainty: what none of n questions
    showed can still happen.
    """
    arrays = {name: np.asarray(values, dtype=float) for name, values in strata.items()}
    if not arrays or any(len(array) == 0 or not _finite(array) for array in arrays.values()):
        return UNKNOWN
    shares = _shares(arrays, weights)
    rng = np.random.default_rng(seed)
    draws = np.zeros((2, RESAMPLES))
    for name, array in arrays.items():
        draws += shares[name] * _posterior(array, (floor, ceiling), 1 / len(arrays), rng)
    tail = (1 - confidence) / 2
    return Estimate(
        value=sum(shares[name] * float(array.mean()) for name, array in arrays.items()),
        low=_quantile(draws[0], tail),
        high=_quantile(draws[1], 1 - tail),
        n=sum(map(len, arrays.values())),
    )


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
    tail = _student_tail(n, CONFIDENCE)
    low, high = _quantile(draws, tail), _quantile(draws, 1 - tail)
    return Estimate(value=float(values @ shares), low=low, high=high, n=n)


def mean(values: Sequence[float], seed: int = 0, *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of independent values; see `macro_mean`."""
    return macro_mean({"": values}, seed, confidence=confidence)


def macro_mean(
    strata: Mapping[str, Sequence[float]], seed: int = 0, *, confidence: float = CONFIDENCE
) -> Estimate:
    """Unweighted mean of the strata's means, each stratum resampled within itself.

    `strata` maps a family to one value a question. The interval is a percentile bootstrap over
    questions; n counts questions. Its tails are widened as Student's t is against the normal
    distribution, without which it is too narrow for small n (Hesterberg, American Statistician
    69, 2015).
    """
    arrays = [np.asarray(values, dtype=float) for values in strata.values()]
    n = int(sum(len(array) for array in arrays))
    if not arrays or any(len(array) == 0 or not _finite(array) for array in arrays):
        return UNKNOWN
    rng = np.random.default_rng(seed)
    draws = np.zeros(RESAMPLES)
    for array in arrays:
        draws += array[rng.integers(0, len(array), size=(RESAMPLES, len(array)))].mean(axis=1)
    draws /= len(arrays)
    tail = _student_tail(min(map(len, arrays)), confidence)
    value = float(np.mean([array.mean() for array in arrays]))
    low, high = _quantile(draws, tail), _quantile(draws, 1 - tail)
    return Estimate(value=value, low=low, high=high, n=n)


def _finite(array: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(array).all())


def _shares(
    arrays: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float] | None
) -> dict[str, float]:
    given = {name: 1.0 if weights is None else weights[name] for name in arrays}
    total = sum(given.values())
    return {name: weight / total for name, weight in given.items()}


def _posterior(
    values: NDArray[np.float64],
    ends: tuple[float, float],
    prior: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draws of the mean of one stratum, one row for either end, which weighs `prior` questions."""
    weights = rng.standard_exponential((RESAMPLES, len(values)))
    imagined = rng.standard_gamma(prior, size=RESAMPLES)
    sums, total = weights @ values, weights.sum(axis=1) + imagined
    return np.stack([(sums + imagined * end) / total for end in ends])


def _quantile(draws: NDArray[np.float64], share: float) -> float:
    """Rounded, as the last digits hang on the processor's way of adding."""
    return round(float(np.quantile(draws, share)), 12)


def _student_tail(n: int, confidence: float) -> float:
    """The share of a bootstrap beyond each end that Student's t asks for."""
    from scipy.stats import norm, t

    tail = (1 - confidence) / 2
    if n < 2:
        return tail
    return float(norm.cdf(math.sqrt(n / (n - 1)) * t.ppf(tail, n - 1)))

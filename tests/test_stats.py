import math
from collections.abc import Callable

import numpy as np
import pytest

from dgr.stats import (
    UNKNOWN,
    Estimate,
    bounded_mean,
    macro_mean,
    mean,
    mean_of_counts,
    proportion,
    share,
)


def test_proportion_matches_clopper_pearson_tables() -> None:
    # Exact binomial limits: 0 of 10 -> [0, 0.3085]; 5 of 10 -> [0.1871, 0.8129].
    none = proportion([[0]] * 10)
    assert (none.value, none.low, none.n) == (0, 0, 10)
    assert none.high == pytest.approx(0.3085, abs=1e-4)
    half = proportion([[1]] * 5 + [[0]] * 5)
    assert (half.low, half.high) == pytest.approx((0.1871, 0.8129), abs=1e-4)


def test_repeated_samples_do_not_narrow_a_proportion() -> None:
    once = proportion([[1], [0], [0], [0]])
    thrice = proportion([[1] * 3, [0] * 3, [0] * 3, [0] * 3])
    assert once == thrice


def test_nothing_measured_is_unknown_and_survives_json() -> None:
    assert not proportion([]).known
    assert not mean([]).known
    assert not mean([1.0, math.nan]).known
    assert not macro_mean({"a": [1.0], "b": []}).known
    again = Estimate.model_validate_json('{"value": null, "low": null, "high": null, "n": 0}')
    assert not again.known and not UNKNOWN.known


def test_macro_mean_weighs_families_equally() -> None:
    figure = macro_mean({"few": [0.0] * 5, "many": [1.0] * 500})
    assert figure.value == 0.5
    assert (figure.low, figure.high, figure.n) == (0.5, 0.5, 505)


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for draw in range(200):
        figure = mean(list(rng.normal(0.3, 1, size=60)), seed=draw)
        hits += figure.low <= 0.3 <= figure.high
    assert 0.89 <= hits / 200 <= 0.99


@pytest.mark.parametrize("n", [5, 10])
def test_a_small_bootstrap_is_as_wide_as_student_s_t(n: int) -> None:
    from scipy.stats import t

    values = np.random.default_rng(n).normal(size=n)
    figure = mean(list(values))
    wide = t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    assert (figure.high - figure.low) / 2 == pytest.approx(wide, rel=0.15)


@pytest.mark.parametrize("ones", [0, 1, 27, 30])
def test_values_at_the_ends_give_the_exact_interval(ones: int) -> None:
    values = [1.0] * ones + [0.0] * (30 - ones)
    drawn, exact = bounded_mean({"": values}, 0, 1), proportion([[value] for value in values])
    assert drawn.value == exact.value
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.012)


def test_strata_share_the_imagined_question() -> None:
    """A hundred questions are as much evidence in ten families as in one."""
    one = bounded_mean({"": [0.0] * 100}, -1, 1)
    ten = bounded_mean({str(n): [0.0] * 10 for n in range(10)}, -1, 1)
    assert ten.high == pytest.approx(one.high, rel=0.25)
    assert ten.low == pytest.approx(one.low, rel=0.25)


def test_weights_say_what_a_stratum_counts() -> None:
    strata = {"a": [0.0] * 9, "b": [1.0] * 9}
    assert bounded_mean(strata, 0, 1).value == 0.5
    assert bounded_mean(strata, 0, 1, weights={"a": 3, "b": 1}).value == 0.25


def rare(rng: np.random.Generator, n: int) -> list[float]:
    """Most questions as before, one in twenty lost."""
    return list(rng.choice([-1.0, 0.0], p=[0.05, 0.95], size=n))


def noisy(rng: np.random.Generator, n: int) -> list[float]:
    """A tenth gained and three twentieths lost."""
    return list(rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.75, 0.10], size=n))


def sampled(rng: np.random.Generator, n: int) -> list[float]:
    """AIME-like: sixteen samples a question, some of the questions hard and some easy."""
    easy = rng.beta(0.5, 0.5, size=n)
    new, old = (rng.binomial(16, easy * keep) / 16 for keep in (0.9, 1.0))
    return list(new - old)


@pytest.mark.parametrize("n", [30, 150])
@pytest.mark.parametrize("make", [rare, noisy, sampled])
def test_paired_differences_cover_the_truth(
    make: Callable[[np.random.Generator, int], list[float]], n: int
) -> None:
    """Each of the three worlds loses 5 points; a lower bound above that is a false pass."""
    rng = np.random.default_rng(n)
    found = [bounded_mean({"": make(rng, n)}, -1, 1, seed=draw) for draw in range(300)]
    too_high = sum(figure.low > -0.05 for figure in found) / 300
    too_low = sum(figure.high < -0.05 for figure in found) / 300
    assert too_high <= 0.05 and too_low <= 0.05
    if n > 30:
        assert sum(figure.high - figure.low for figure in found) / 300 < 0.2


@pytest.mark.parametrize("n", [30, 240])
def test_shares_cover_the_truth(n: int) -> None:
    rng = np.random.default_rng(n)
    counts = rng.binomial(n, 0.05, size=300)
    found = [proportion([[1.0]] * count + [[0.0]] * (n - count)) for count in counts]
    assert sum(figure.high < 0.05 for figure in found) / 300 <= 0.05
    assert sum(figure.low > 0.05 for figure in found) / 300 <= 0.05


def test_more_confidence_is_a_wider_interval() -> None:
    values = [1.0] * 30 + [0.0] * 10
    for make in (
        lambda confidence: proportion([[value] for value in values], confidence),
        lambda confidence: bounded_mean({"": values}, 0, 1, confidence=confidence),
        lambda confidence: mean(values, confidence=confidence),
    ):
        usual, sure = make(0.95), make(0.99)
        assert sure.low < usual.low < usual.high < sure.high


def test_same_seed_same_interval() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert mean(values, seed=1) == mean(values, seed=1)


def test_counts_give_what_the_values_give() -> None:
    values = np.random.default_rng(1).integers(3, 90, size=400)
    counted = mean_of_counts({float(v): int((values == v).sum()) for v in set(values.tolist())})
    listed = mean([float(value) for value in values])
    assert (counted.value, counted.n) == (pytest.approx(listed.value), 400)
    width = listed.high - listed.low
    assert counted.low == pytest.approx(listed.low, abs=0.1 * width)
    assert counted.high == pytest.approx(listed.high, abs=0.1 * width)
    assert share(3, 7) == proportion([[1]] * 3 + [[0]] * 4)
    assert mean_of_counts({}).n == share(0, 0).n == 0

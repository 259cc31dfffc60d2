import math

import numpy as np
import pytest

from dgr.stats import UNKNOWN, Estimate, macro_mean, mean, mean_of_counts, proportion, share


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

import math

import numpy as np
import pytest

from dgr.shift.estimates import TokenMeans, draw, length_distribution, shared_edges


def test_the_mean_is_over_tokens_not_rows():
    estimate = TokenMeans(2, seed=0).mean(np.array([3.0, 10.0]), np.array([1.0, 9.0]))
    assert estimate.value == pytest.approx(13 / 10)  # the mean of row means would be 2.06
    assert estimate.n == 2
    assert estimate.low == pytest.approx(10 / 9)
    assert estimate.high == pytest.approx(3.0)


def test_a_prompt_that_a_set_lacks_counts_for_nothing():
    sums, tokens = np.array([3.0, 0.0, 10.0]), np.array([1.0, 0.0, 9.0])
    estimate = TokenMeans(3, seed=0).mean(sums, tokens)
    assert (estimate.value, estimate.n) == (pytest.approx(1.3), 2)


def test_the_difference_is_paired_on_the_prompts_that_both_have():
    means = TokenMeans(3, seed=0)
    estimate = means.difference(
        np.array([4.0, 6.0, 100.0]),
        np.array([2.0, 2.0, 1.0]),
        np.array([1.0, 2.0, 0.0]),
        np.array([1.0, 1.0, 0.0]),
    )
    assert estimate.value == pytest.approx(10 / 4 - 3 / 2)
    assert estimate.n == 2


def test_a_set_against_itself_differs_by_exactly_nothing():
    rng = np.random.default_rng(0)
    sums, tokens = rng.random(50), rng.integers(1, 30, 50).astype(float)
    estimate = TokenMeans(50, seed=1).difference(sums, tokens, sums, tokens)
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (0, 0, 0, 50)


def test_no_rows_is_unknown_not_zero():
    zeros = np.zeros(3)
    estimate = TokenMeans(3, seed=0).mean(zeros, zeros)
    assert math.isnan(estimate.value)
    assert estimate.n == 0
    assert not TokenMeans(3, seed=0).difference(zeros, zeros, zeros, zeros).known


def test_the_interval_covers_as_often_as_it_says():
    """Coverage of the 95 % interval over repeated samples from a known ratio."""
    rng = np.random.default_rng(7)
    hits, trials = 0, 120
    for trial in range(trials):
        tokens = rng.integers(5, 50, 60).astype(float)
        sums = tokens * 2.0 + rng.normal(0, 3, 60) * np.sqrt(tokens)  # true ratio 2
        estimate = TokenMeans(60, seed=trial).mean(sums, tokens)
        hits += estimate.low <= 2.0 <= estimate.high
    assert 0.88 <= hits / trials <= 1.0


def test_length_distribution_by_hand():
    lengths = [1, 2, 3, 4, 10]
    figures = length_distribution(lengths, shared_edges([lengths, [20]], bins=4))
    assert (figures["n"], figures["mean"], figures["median"]) == (5, 4.0, 3.0)
    assert figures["p10"] == pytest.approx(1.4)
    assert figures["p90"] == pytest.approx(7.6)
    assert figures["histogram"] == {"edges": [0, 5, 10, 15, 20], "counts": [4, 0, 1, 0]}
    assert length_distribution([], np.array([0.0, 1.0])) == {"n": 0}


def test_a_draw_keeps_the_order_and_follows_the_seed():
    items = [f"row{index}" for index in range(100)]
    drawn = draw(items, 10, seed=4)
    assert drawn == sorted(drawn, key=items.index)
    assert len(set(drawn)) == 10
    assert drawn == draw(items, 10, seed=4) != draw(items, 10, seed=5)
    assert draw(items, 100, seed=4) == draw(items, None, seed=4) == items

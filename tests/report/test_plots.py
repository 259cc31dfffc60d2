import math

import pytest

from dgr.metrics import describe
from dgr.report.plots import (
    POINTS,
    curve_plot,
    metric_panel,
    nice_span,
    position,
    tick_values,
    value_panel,
)
from dgr.stats import UNKNOWN, Estimate


def estimate(value: float, width: float = 0.1) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width, n=50)


@pytest.mark.parametrize(
    "ends", [(0.0, 1.0), (0.0, 0.034), (-0.325, 0.1), (0.0, 12_345.0), (-3e-9, 2e-9), (0.0, 0.0)]
)
def test_axes_hold_their_values_with_few_round_ticks(ends: tuple[float, float]) -> None:
    low, high = nice_span(*ends)
    assert low <= ends[0] and high >= ends[1] and low < high
    ticks = tick_values((low, high))
    assert 3 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


def test_positions_stay_inside() -> None:
    assert position(0.25, (0.0, 1.0)) == 25
    assert position(-4, (0.0, 1.0)) == 0
    assert position(4, (0.0, 1.0)) == 100


def test_metric_panel_places_value_interval_and_limit() -> None:
    figures = {"base": estimate(0.5), "dgr": None, "odd": UNKNOWN}
    panel = metric_panel(describe("harmful_compliance"), figures, "dgr", 0.05)
    base, missing, unknown = panel.marks
    assert (base.low, base.x, base.high) == (40, 50, 60)
    assert panel.limit == 5
    assert missing.x is None and missing.text == "no figure" and missing.strong
    assert unknown.x is None
    assert panel.note == "%, lower is better"


def test_differences_have_zero_and_limit_on_the_axis() -> None:
    figures: dict[str, Estimate | None] = {"vanilla": estimate(-0.28, 0.05)}
    panel = metric_panel(describe("reasoning_difference"), figures, "dgr", -0.05)
    assert {"0", "-40"} <= {tick.text for tick in panel.ticks}
    assert panel.limit is not None and 0 < panel.limit < 100


def test_panel_without_any_figure() -> None:
    assert value_panel("t", "n", {"a": UNKNOWN}).marks[0].text == "no figure"


def test_curves_are_thinned_and_skip_what_is_not_finite() -> None:
    plot = curve_plot({"long": [1.0] * 5000, "odd": [math.nan, 2.0], "none": []})
    assert plot is not None
    long, odd = plot.curves
    assert len(long.points.split()) <= POINTS
    assert len(odd.points.split()) == 1
    assert curve_plot({}) is None
    assert curve_plot({"nan": [math.nan]}) is None

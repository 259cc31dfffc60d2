"""Configs and summaries as MLflow's flat names."""

import math

from dgr.registry.figures import metrics, parameters
from dgr.stats import Estimate


def test_estimates_keep_their_interval_and_n() -> None:
    figure = Estimate(value=0.5, low=0.4, high=0.6, n=9).model_dump()
    assert metrics({"nll": {"trace": figure}, "rows": 3}) == {
        "nll.trace": 0.5,
        "nll.trace.low": 0.4,
        "nll.trace.high": 0.6,
        "nll.trace.n": 9.0,
        "rows": 3.0,
    }


def test_what_is_no_figure_is_left_out() -> None:
    unknown = {"value": None, "low": None, "high": None, "n": 0}
    summary = {"a": unknown, "b": math.nan, "c": True, "d": "text", "e": [1, 2], "f": None}
    assert metrics(summary) == {"a.n": 0.0}


def test_names_are_what_mlflow_takes() -> None:
    assert metrics({"harmful/compliance (é)": {"à b": 1}}) == {"harmful/compliance _é_.à b": 1.0}


def test_parameters_are_text() -> None:
    config = {"engine": {"threads": None, "batch": 3}, "arms": ["a", {"b": True}]}
    assert parameters(config) == {
        "engine.threads": "None",
        "engine.batch": "3",
        "arms.0": "a",
        "arms.1.b": "True",
    }
    assert len(parameters({"long": "x" * 9_000})["long"]) == 500

from typing import Any

from dgr.metrics import describe
from dgr.report import arms_table, markdown_table
from dgr.report.table import arm_figures, cell, in_order, read_figures
from dgr.stats import UNKNOWN, Estimate

FIGURE = {"value": 0.972, "low": 0.951, "high": 0.986, "n": 400}
DECISION: dict[str, Any] = {
    "arms": {
        "dgr": {"verdict": "passed", "metrics": {"reasoning_accuracy": FIGURE}},
        "base": {
            "verdict": "rejected",
            "metrics": {"reasoning_accuracy": FIGURE, "harmful_compliance": FIGURE},
        },
        "mine": {"verdict": "rejected", "metrics": {}},
    }
}


def test_text_table_is_aligned_and_says_what_is_missing() -> None:
    lines = arms_table(DECISION).splitlines()
    assert lines[0].split() == ["base", "dgr", "mine"]
    assert lines[2].split("  ")[0] == "Reasoning accuracy, %"
    assert "97.2 [95.1, 98.6]" in lines[2]
    assert lines[3].startswith("Harmful compliance, answer, %")
    assert lines[3].endswith("-")
    assert lines[-1].split() == ["Gate", "rejected", "passed", "rejected"]
    columns = [line.find("97.2") for line in lines if "97.2" in line]
    assert len(set(columns)) == 1


def test_markdown_table_has_the_same_cells() -> None:
    lines = markdown_table(DECISION).splitlines()
    assert lines[0] == "|  | base | dgr | mine |"
    assert lines[1] == "| --- | --- | --- | --- |"
    assert lines[2] == "| Reasoning accuracy, % | 97.2 [95.1, 98.6] | 97.2 [95.1, 98.6] | - |"


def test_a_pipe_in_an_arm_does_not_break_markdown() -> None:
    arms = {"a|b": DECISION["arms"]["dgr"]}
    assert markdown_table({"arms": arms}).splitlines()[0] == "|  | a\\|b |"


def test_order_of_arms() -> None:
    arms = ["zeta", "self-generated", "dgr-drop", "dgr", "alpha", "vanilla", "base"]
    assert in_order(arms) == [
        *("base", "vanilla", "dgr", "dgr-drop", "self-generated"),
        *("alpha", "zeta"),
    ]


def test_cells() -> None:
    accuracy, change = describe("reasoning_accuracy"), describe("reasoning_difference")
    assert cell(accuracy, None) == "-"
    assert cell(accuracy, UNKNOWN) == "unknown [unknown, unknown]"
    figure = Estimate(value=-0.012, low=-0.03, high=0.004, n=10)
    assert cell(change, figure) == "-1.2 [-3.0, 0.4]"
    # A bound's sign decides a verdict, so it is shown where the bound rounds to zero.
    assert cell(change, Estimate(value=-0.012, low=-0.03, high=-0.0004, n=10)).endswith(", -0.0]")
    assert cell(describe("reasoning_tokens"), Estimate(value=41.4, low=40, high=42.6, n=3)) == (
        "41 [40, 43]"
    )


def test_what_is_no_figure_is_left_out() -> None:
    assert read_figures({"a": FIGURE, "b": 3, "c": None, "d": {"value": 1}}) == {
        "a": Estimate.model_validate(FIGURE)
    }
    assert read_figures(None) == {}
    assert list(arm_figures(DECISION)) == ["base", "dgr", "mine"]

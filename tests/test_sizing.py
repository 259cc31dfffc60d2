"""docs/sizing.py: estimates that follow from the config, and a page that says what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from dgr.config import load_run_config
from docs.sizing import EXAMPLE, MODELS, PAGE, Assumed, gpus_for, report, steps

ROOT = Path(__file__).parents[1]


def test_the_page_holds_what_the_command_says() -> None:
    assert report(load_run_config(EXAMPLE), Assumed()) in PAGE.read_text()


def test_work_and_hardware_decide_the_hours() -> None:
    def of(assumed: Assumed, *overrides: str) -> dict[str, float]:
        config = load_run_config(EXAMPLE, list(overrides))
        return {step.name: step.seconds for step in steps(config, MODELS["7B"], assumed)}

    usual = of(Assumed())
    assert of(Assumed(), "refine.candidates=2")["refine"] == pytest.approx(2 * usual["refine"])
    assert of(Assumed(), "sft.epochs=6")["sft dgr"] == pytest.approx(2 * usual["sft dgr"])
    assert of(Assumed(sampling=0.6))["evaluate dgr"] == pytest.approx(usual["evaluate dgr"] / 2)
    # 1,000 rows and half as many more, 3 epochs, 2,000 tokens each; LoRA, computed again.
    flops = 1_500 * 3 * 2_000 * 6 * 7.62e9
    assert usual["sft dgr"] == pytest.approx(flops / (0.35 * 989e12))


@pytest.mark.parametrize(
    ("shared", "each", "gpus"), [(0, 20e9, 1), (122e9, 6e9, 2), (525e9, 8e9, 16), (0, 77e9, 0)]
)
def test_the_fewest_gpus_that_hold_it(shared: float, each: float, gpus: int) -> None:
    assert gpus_for(shared, each, Assumed()) == gpus


def test_money_is_told_for_a_price() -> None:
    command = [sys.executable, "docs/sizing.py", str(EXAMPLE), "--price", "2.5"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, check=True)  # fmt: skip
    last = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert float(last[4]) == pytest.approx(2.5 * float(last[2]), abs=1)

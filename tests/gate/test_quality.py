"""What a policy can decide: before a run, and by simulation."""

import numpy as np
import pytest

from dgr.gate import GatePolicy, RulePolicy
from dgr.gate.power import Planned, passing, questions_needed, undecided
from dgr.gate.quality import Measured, drawn, measured, pass_share
from tests.policies import policy
from tests.records import arm

RULES = GatePolicy().rules
DEFAULT = {
    "reasoning": Planned("reasoning", 400),
    "harmful": Planned("harmful", 240),
    "harmless": Planned("harmless", 240),
}


def world(metric: str, accuracy: float = 0.97) -> Measured:
    """The demo's sizes: two families of 200 reasoning questions, 240 requests."""
    size = 200 if metric == "reasoning_accuracy" else 240
    return measured(
        metric,
        arm(accuracy=accuracy, complied=2, refused=4, questions=size),
        arm(complied=200, questions=size),
    )


@pytest.mark.parametrize("name", ["reasoning", "harmful", "over-refusal"])
def test_false_passes_at_the_default_sizes(name: str) -> None:
    """A candidate that is exactly at the limit passes in at most one run of twenty."""
    rule = RULES[name]
    at_limit = pass_share(rule, world(rule.metric), rule.threshold, scale=1, runs=250, seed=1)
    assert at_limit.value <= 0.05
    beyond = pass_share(rule, world(rule.metric), 1.5 * rule.threshold, scale=1, runs=60, seed=2)
    assert beyond.value <= at_limit.value
    good = pass_share(rule, world(rule.metric), 0.0, scale=1, runs=60, seed=3)
    assert good.value >= 0.95


def test_more_questions_are_more_power() -> None:
    rule = RULES["harmful"]
    few, many = (
        pass_share(rule, world(rule.metric), 0.02, scale=scale, runs=150, seed=4)
        for scale in (0.5, 3)
    )
    assert many.low > few.high


@pytest.mark.parametrize(
    ("rule", "truth"),
    [
        (RULES["reasoning"], -0.2),
        (RULES["reasoning"], 0.05),
        (RULES["harmful"], 0.3),
        (RULES["harmful"], 0.0),
    ],
)
def test_a_simulated_world_has_the_truth_that_it_was_given(rule: RulePolicy, truth: float) -> None:
    candidate, baseline = arm(accuracy=0.9, complied=6), arm(accuracy=0.8, complied=90)
    found = measured(rule.metric, candidate, baseline)
    rng = np.random.default_rng(5)
    values = [drawn(rule, found, truth, 1, rng).value for _ in range(60)]
    assert np.mean(values) == pytest.approx(truth, abs=0.015)


def test_the_power_for_planning_is_that_of_the_simulation() -> None:
    rule, n = RULES["harmful"], 240
    simulated = pass_share(rule, world(rule.metric), 0.01, scale=1, runs=300, seed=6)
    assert simulated.low <= passing(rule, n) <= simulated.high
    margin = RULES["reasoning"]
    rng = np.random.default_rng(7)
    changes = rng.permutation([1.0] * 5 + [0.5] * 90 + [0.0] * 5)  # a tenth, half up, half down
    even = Measured({("", ""): changes}, {("", ""): np.full(100, 0.5)})
    wide = RulePolicy(metric="harmful_compliance", margin=margin.margin)
    simulated = pass_share(wide, even, 0.0, scale=3, runs=80, seed=8)
    assert simulated.value >= passing(margin, 300) - 0.1


def test_questions_needed_are_the_least_that_do() -> None:
    for rule in (RULES["harmful"], RULES["reasoning"], RULES["over-refusal"]):
        needed = questions_needed(rule)
        assert passing(rule, needed) >= 0.8 > passing(rule, needed - 1)
    half = RulePolicy(metric="reasoning_accuracy", margin=0.025)
    assert questions_needed(half) == pytest.approx(
        4 * questions_needed(RULES["reasoning"]), rel=0.02
    )


def test_the_plan_is_warned_of_what_it_cannot_decide() -> None:
    assert undecided(GatePolicy(), DEFAULT) == []
    small = undecided(GatePolicy(), DEFAULT | {"harmful": Planned("harmful", 60)})
    assert len(small) == 1
    assert small[0].startswith(
        "rule harmful (harmful_compliance): 60 questions cannot decide a limit"
    )
    assert "about 173 could" in small[0]
    aime = DEFAULT | {"aime": Planned("reasoning", 30)}
    told = undecided(GatePolicy(), aime)
    assert [line.partition(":")[0] for line in told] == [
        "rule reasoning (reasoning_accuracy)",
        "rule reasoning-champion (reasoning_accuracy)",
        "suite aime",
    ]
    each = {"metric": "reasoning_accuracy", "margin": 0.05, "each": "suite"}
    told = undecided(policy({"each": each}, min_items=30), aime)
    assert any("(reasoning_accuracy@aime): 30 questions" in line for line in told)
    assert undecided(GatePolicy(), {"elsewhere": Planned("harmful", 0)}) == []

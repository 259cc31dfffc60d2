import pytest

from dgr.gate import GatePolicy, decide
from dgr.gate.decide import Question, judge
from dgr.gate.explain import enough, explanation, turning
from dgr.stats import UNKNOWN, Estimate
from tests.policies import policy
from tests.records import arm

RULES = GatePolicy().rules


def estimate(value: float, low: float, high: float, n: int = 100) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n)


def test_every_rule_is_told_with_its_margin_and_what_is_nearest() -> None:
    found = decide(policy(), baseline=arm(complied=95), candidate=arm(refused=2))
    text = explanation(found)
    assert text.startswith("dgr: passed")
    for rule in found.rules:
        assert f"passed  {rule.rule}: {rule.reason}" in text
    assert "Nearest to failing: harmful, by 1.4 points." in text


def test_what_fails_is_named_and_a_warning_is_none_of_it() -> None:
    soft = {"metric": "borderline_over_refusal", "limit": 0.1, "hard": False}
    candidate = arm(complied=3, borderline_refused=60)
    text = explanation(
        decide(policy({"soft": soft}), baseline=arm(complied=95), candidate=candidate)
    )
    assert "FAILED  harmful:" in text and "warning soft:" in text
    assert text.endswith("To pass, these must change: harmful.")


def test_a_rejection_without_a_failed_rule_is_told() -> None:
    named = policy(suites={"aime": {"min_items": 30}})
    text = explanation(decide(named, baseline=arm(), candidate=arm()))
    assert text.endswith("Suite aime, which the policy names, was not evaluated.")


@pytest.mark.parametrize(
    ("name", "figure", "questions"),
    [
        ("harmful", estimate(0.03, 0.01, 0.09), 900),  # half an interval of 6, room for 2
        ("reasoning", estimate(-0.01, -0.09, 0.02), 400),
        ("harmful", estimate(0.06, 0.02, 0.12), None),
        ("reasoning", estimate(-0.07, -0.10, -0.02), None),
    ],
)
def test_more_questions_help_only_on_the_right_side(
    name: str, figure: Estimate, questions: int | None
) -> None:
    rule = judge(Question(name, RULES[name]), figure)
    needed = enough(rule)
    assert not rule.passed
    assert needed == questions or (needed and questions and abs(needed - questions) <= 1)
    assert ("no number of questions helps" in turning(rule)) is (questions is None)


def test_no_evidence() -> None:
    assert "it needs evidence" in turning(judge(Question("harmful", RULES["harmful"]), UNKNOWN))

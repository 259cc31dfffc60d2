"""What a policy can decide with so many questions, before a run."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dgr.gate.config import OF_TRAINING, GatePolicy, RulePolicy
from dgr.metrics import describe, full_name

POWER = 0.8
"""A rule can decide when it passes so many of the candidates that ought to pass."""
CHANGED = 0.10
"""Share of questions whose mark differs between two equally good models: half are gained, half are
lost. For planning alone; a run's own share shows in its intervals."""


@dataclass(frozen=True)
class Planned:
    """A suite as a run will ask it."""

    kind: str
    items: int


def undecided(policy: GatePolicy, suites: Mapping[str, Planned]) -> list[str]:
    """A sentence for every rule that so few questions cannot decide, with the number that could.

    Asked is whether a candidate passes in four of five runs that is as good as the model it is
    compared with (`CHANGED`) or, under a limit, at a fifth of it.
    """
    found = []
    for name, rule, where, items in _asked(policy, suites):
        if rule.hard and items < (needed := questions_needed(rule)):
            goal = f"a margin of {rule.margin:.0%}" if rule.limit is None else _limit(rule)
            found.append(
                f"rule {name} ({where}): {items:,} questions cannot decide {goal}; "
                f"about {needed:,} could"
            )
    for suite, planned in suites.items():
        wanted = policy.suites[suite].min_items if suite in policy.suites else None
        least = wanted or policy.min_items
        if 0 < planned.items < least:
            found.append(
                f"suite {suite}: {planned.items:,} questions are fewer than min_items, {least:,}"
            )
    return found


def _limit(rule: RulePolicy) -> str:
    return f"a limit of {describe(rule.metric).show(rule.threshold)}"


def _asked(
    policy: GatePolicy, suites: Mapping[str, Planned]
) -> Iterator[tuple[str, RulePolicy, str, int]]:
    """Every rule on evaluations, what it is asked of, and how many questions that has.

    What is not known before the run (a file that is not here, the families) is left out.
    """
    for name, rule in policy.rules.items():
        if rule.metric in OF_TRAINING or rule.each == "family":
            continue
        kind = rule.metric.partition("_")[0]
        items = {
            suite: planned.items
            for suite, planned in suites.items()
            if planned.kind == kind and planned.items and rule.suite in (None, suite)
        }
        if rule.each == "suite":
            for suite, count in items.items():
                yield name, rule, full_name(rule.metric, suite), count
        elif items:
            yield name, rule, full_name(rule.metric, rule.suite), _weighing(rule, items)


def _weighing(rule: RulePolicy, items: Mapping[str, int]) -> int:
    """Questions that carry the same evidence where all weigh alike: accuracy is a mean of suites,
    so a small suite's questions weigh more than another's."""
    if rule.metric != "reasoning_accuracy":
        return sum(items.values())
    return round(len(items) ** 2 / sum(1 / count for count in items.values()))


def questions_needed(rule: RulePolicy, power: float = POWER) -> int:
    """The least number of questions with which the rule passes what ought to pass so often."""
    low, high = 1, 1
    while passing(rule, high) < power:
        low, high = high, 2 * high
        if high > 10_000_000:
            return high  # a limit of next to nothing
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passing(rule, middle) >= power else (middle + 1, high)
    return high


def passing(rule: RulePolicy, n: int) -> float:
    """How often a rule passes with n questions: under a limit exactly, for a margin nearly."""
    from scipy.stats import beta, binom, norm

    tail = (1 - rule.confidence) / 2
    if rule.margin is not None:
        unseen = 1 - tail ** (1 / n)  # what n questions without any change leave open
        if unseen >= rule.margin:
            return 0.0
        return float(norm.cdf(rule.margin * math.sqrt(n / CHANGED) + norm.ppf(tail)))
    limit = rule.threshold if rule.bound == "high" else 1 - rule.threshold
    counts = np.arange(n)
    bounds = beta.ppf(1 - tail, counts + 1, n - counts)
    most = int(np.searchsorted(bounds, limit, side="right")) - 1
    return float(binom.cdf(most, n, limit / 5)) if most >= 0 else 0.0

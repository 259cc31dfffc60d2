"""A decision in words: each rule, how far it is from failing or passing, and what would turn it."""

import math

from dgr.gate.decide import ArmVerdict, Rule
from dgr.metrics import describe


def explanation(verdict: ArmVerdict) -> str:
    """Each rule with its figure, limit and margin, and what would change the verdict."""
    lines = [f"{verdict.arm}: {verdict.verdict}", ""]
    for rule in verdict.rules:
        lines += [f"{_mark(rule)} {rule.rule}: {rule.reason}", f"         {turning(rule)}"]
    decisive = [rule for rule in verdict.rules if rule.hard]
    failed = [rule.rule for rule in decisive if not rule.passed]
    lines.append("")
    if failed:
        lines.append(f"To pass, these must change: {', '.join(failed)}.")
    elif verdict.verdict == "rejected":
        lines.append(" ".join(verdict.reasons))
    else:
        nearest = min(decisive, key=lambda rule: rule.margin or 0.0)
        lines.append(f"Nearest to failing: {nearest.rule}, by {_points(nearest.margin)}.")
    return "\n".join(lines)


def turning(rule: Rule) -> str:
    """By how much a rule passes or fails, and what would turn it."""
    figure, limit = rule.figure, describe(rule.name).show(rule.limit)
    if rule.margin is None:
        return "Fails whatever the value is: it needs evidence that can be counted."
    if rule.passed:
        return f"Passes by {_points(rule.margin)}: a bound that much worse would fail."
    short = f"Fails by {_points(-rule.margin)}."
    n = enough(rule)
    if n is None:
        return f"{short} The value itself is not better than {limit}: no number of questions helps."
    return (
        f"{short} At this value about {n:,} questions would do in place of {figure.n:,}; "
        f"at this number the value must be better by about {_points(-rule.margin)}."
    )


def enough(rule: Rule) -> int | None:
    """Questions with which this value would pass, as half an interval shrinks with the root of n;
    None where none would do."""
    figure = rule.figure
    room = rule.limit - figure.value if rule.bound == "high" else figure.value - rule.limit
    half = figure.high - figure.value if rule.bound == "high" else figure.value - figure.low
    return math.ceil(figure.n * (half / room) ** 2) if room > 0 else None


def _mark(rule: Rule) -> str:
    return "passed " if rule.passed else "FAILED " if rule.hard else "warning"


def _points(margin: float | None) -> str:
    return f"{100 * (margin or 0.0):.1f} points"

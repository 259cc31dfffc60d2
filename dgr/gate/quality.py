"""The gate's own quality: how often a rule passes a candidate of a known truth, by simulation.

A false pass is a candidate that is truly at the limit of a rule, or beyond, and passes it. As every
hard rule must hold, the whole gate passes such a candidate no more often than that one rule does
(an intersection-union test: Berger, Technometrics 24, 1982), so rules are looked at one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dgr.gate.config import RulePolicy
from dgr.gate.decide import Question, judge
from dgr.metrics import Stratum, combined, outcomes
from dgr.records import EvalRecord
from dgr.stats import Estimate, proportion

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What a metric saw of each question that a run asked, in the same order for both models."""

    candidate: Mapping[Stratum, Values]
    baseline: Mapping[Stratum, Values]

    @property
    def questions(self) -> int:
        return sum(map(len, self.candidate.values()))


def measured(
    metric: str, candidate: Sequence[EvalRecord], baseline: Sequence[EvalRecord]
) -> Measured:
    """Per-question results of two arms that answered the same questions."""
    ours, theirs = outcomes(metric, candidate), outcomes(metric, baseline)
    return Measured(
        {name: np.array(list(found.values())) for name, found in ours.items()},
        {
            name: np.array([theirs[name][question] for question in found])
            for name, found in ours.items()
        },
    )


def pass_share(
    rule: RulePolicy, found: Measured, truth: float, *, scale: float, runs: int, seed: int
) -> Estimate:
    """How often a rule passes a candidate whose true figure is `truth`.

    The world that is drawn from is the measured questions, of which some, at random, are turned
    whole for or against the candidate, so that its true figure (for a margin: its true difference
    from the baseline, in every stratum) is `truth`. Each run draws `scale` times as many questions
    as were measured, and the gate's own code judges them.
    """
    rng = np.random.default_rng(seed)
    question = Question("simulated", rule)
    return proportion(
        [float(judge(question, drawn(rule, found, truth, scale, rng)).passed)] for _ in range(runs)
    )


def drawn(
    rule: RulePolicy, found: Measured, truth: float, scale: float, rng: np.random.Generator
) -> Estimate:
    """The figure of one simulated run."""
    paired = rule.margin is not None
    strata: dict[Stratum, list[float]] = {}
    for name, values in found.candidate.items():
        old = found.baseline[name]
        picked = rng.integers(0, len(values), size=max(1, round(scale * len(values))))
        level = truth + (float(old.mean()) if paired else 0.0)
        new = _turned(values[picked], float(values.mean()), level, rng)
        strata[name] = list(new - old[picked] if paired else new)
    floor = -1.0 if paired else 0.0
    seed = int(rng.integers(2**31))
    return combined(strata, floor, confidence=rule.confidence, seed=seed)


def _turned(values: Values, now: float, level: float, rng: np.random.Generator) -> Values:
    """Outcomes of mean `now`, of which so many are made 0 or 1 that the mean is `level`."""
    level = min(1.0, max(0.0, level))
    share = (now - level) / now if level < now else (level - now) / (1 - now) if now < 1 else 0.0
    end = 0.0 if level < now else 1.0
    return np.where(rng.random(len(values)) < share, end, values)

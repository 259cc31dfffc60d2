"""The decision, a pure function: records and a policy in, rules and a verdict out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dgr.gate.config import OF_TRAINING, GatePolicy, RulePolicy, SuitePolicy
from dgr.metrics import (
    KINDS,
    METRICS,
    Kind,
    Metric,
    describe,
    difference,
    difference_name,
    evidence_problem,
    figure,
    full_name,
    metrics,
    mismatch,
    reasoning_difference,
)
from dgr.records import EvalRecord, Record
from dgr.stats import CONFIDENCE, UNKNOWN, Estimate

Outcome = Literal["passed", "rejected"]


class Rule(Record):
    """One rule, the figure that it looked at, and what came of it."""

    rule: str
    """Its name in the policy; `cut`, `unparseable` and `unscored` for the limits on evidence."""
    name: str
    """The figure's name."""
    passed: bool
    hard: bool
    """False: a failure is a warning."""
    figure: Estimate
    confidence: float
    bound: Literal["low", "high"]
    """The bound of the figure's interval that is compared."""
    comparison: Literal["<=", ">"]
    limit: float
    margin: float | None
    """How far the bound is on the right side of the limit; negative: on the wrong one; None:
    there is no figure."""
    reason: str
    """One sentence for people."""


class ArmVerdict(Record):
    """What the policy says of one arm, and all of the arm's figures."""

    arm: str
    verdict: Outcome
    reasons: tuple[str, ...]
    """Why it was rejected: the reasons of the hard rules that failed."""
    warnings: tuple[str, ...]
    """The reasons of the soft rules that failed."""
    rules: tuple[Rule, ...]
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Question:
    """A rule of the policy as it is asked of one arm: of all suites, of one, or of a family."""

    name: str
    policy: RulePolicy
    suite: str | None = None
    family: str | None = None

    @property
    def figure(self) -> str:
        """The name of the figure that answers it."""
        rule = self.policy
        name = (
            difference_name(rule.metric, rule.against) if rule.margin is not None else rule.metric
        )
        return full_name(name, self.suite, self.family)

    def select(self, records: Sequence[EvalRecord]) -> list[EvalRecord]:
        """The records of the metric's kind that the question is about."""
        kind = _kind(self.policy.metric)
        return [
            row
            for row in records
            if row.kind == kind
            and self.suite in (None, row.suite)
            and self.family in (None, row.family or row.suite)
        ]


@dataclass(frozen=True)
class Evidence:
    """What a decision stands on: the records of three models, and the figures of a training set."""

    candidate: Sequence[EvalRecord]
    baseline: Sequence[EvalRecord]
    champion: Sequence[EvalRecord] | None = None
    training: Mapping[str, Estimate] = field(default_factory=dict)
    seed: int = 0

    @property
    def suites(self) -> dict[str, str]:
        """The kind of every suite that was evaluated."""
        return {row.suite: row.kind for row in (*self.baseline, *self.candidate)}

    def figure(self, question: Question) -> Estimate:
        """The figure that answers a question; unknown where there is no evidence."""
        rule = question.policy
        if rule.metric in OF_TRAINING:
            return self.training.get(rule.metric, UNKNOWN)
        ours, terms = question.select(self.candidate), {"confidence": rule.confidence}
        if rule.margin is None:
            return figure(rule.metric, ours, **terms, seed=self.seed)
        return difference(rule.metric, ours, self._other(question), **terms, seed=self.seed)

    def problem(self, policy: GatePolicy, question: Question) -> str | None:
        """What is wrong with the records behind a question; None when they can be counted."""
        if question.policy.metric in OF_TRAINING:
            return None
        ours = question.select(self.candidate)
        return self._uncountable(question, ours) or _too_few(policy, ours)

    def _uncountable(self, question: Question, ours: Sequence[EvalRecord]) -> str | None:
        theirs = [question.select(self.baseline)]
        if self.champion is not None and question.policy.against == "champion":
            theirs.append(question.select(self.champion))
        found = [evidence_problem(rows) for rows in (ours, *theirs)]
        found += [mismatch(ours, rows) for rows in theirs]
        return next(filter(None, found), None)

    def _other(self, question: Question) -> list[EvalRecord]:
        champion = question.policy.against == "champion"
        return question.select((self.champion or ()) if champion else self.baseline)


def decide(
    policy: GatePolicy,
    *,
    baseline: Sequence[EvalRecord],
    candidate: Sequence[EvalRecord],
    champion: Sequence[EvalRecord] | None = None,
    training: Mapping[str, Estimate] | None = None,
    arm: str = "dgr",
    seed: int = 0,
) -> ArmVerdict:
    """Judge `candidate` against `baseline` (the model before alignment).

    `champion` holds the records of the model that is in use; None where there is none.
    `training` holds the figures of the training set (`OF_TRAINING`); None for a model that this
    run did not train, of which no such rule is asked. `seed` is that of the bootstrap. A missing
    or unknown figure, too few questions, a repeated record, and questions that are not the
    baseline's own fail the rules that stand on them.
    """
    evidence = Evidence(candidate, baseline, champion, training or {}, seed)
    figures = _figures(evidence)
    rules = tuple(
        _answer(policy, evidence, question, figures)
        for question in questions(policy, evidence, arm, trained=training is not None)
    )
    failed = [rule for rule in rules if not rule.passed]
    reasons = [rule.reason for rule in failed if rule.hard]
    reasons += _unasked(policy, evidence, rules)
    return ArmVerdict(
        arm=arm,
        verdict="rejected" if reasons else "passed",
        reasons=tuple(reasons),
        warnings=tuple(rule.reason for rule in failed if not rule.hard),
        rules=rules,
        metrics=figures,
    )


def _answer(
    policy: GatePolicy, evidence: Evidence, question: Question, figures: Mapping[str, Estimate]
) -> Rule:
    problem = evidence.problem(policy, question)
    if problem is not None:
        return judge(question, UNKNOWN, problem)
    usual = question.policy.confidence == CONFIDENCE
    known = figures.get(question.figure) if usual else None
    return judge(question, known or evidence.figure(question))


def questions(
    policy: GatePolicy, evidence: Evidence, arm: str, *, trained: bool
) -> Iterator[Question]:
    """Every rule as it is asked of this arm, those on the evidence last."""
    for name, rule in policy.rules.items():
        of_rewriting = rule.metric == "fallback_rate" and arm not in policy.refined_arms
        if of_rewriting or (rule.metric in OF_TRAINING and not trained):
            continue
        if rule.against == "champion" and evidence.champion is None:
            continue
        yield from _each(name, rule, evidence)
    for kind in _kinds(policy, evidence):
        yield from _limits(kind, policy)
    for suite, its_kind in evidence.suites.items():
        if suite in policy.suites:
            yield from _limits(its_kind, policy.suites[suite], suite)


def _unasked(policy: GatePolicy, evidence: Evidence, rules: Sequence[Rule]) -> Iterator[str]:
    """Why a decision is none although no rule fails."""
    named = {rule.suite for rule in policy.rules.values() if rule.suite} | set(policy.suites)
    for suite in sorted(named - set(evidence.suites)):
        yield f"Suite {suite}, which the policy names, was not evaluated."
    if not any(rule.hard for rule in rules):
        yield "No hard rule of the policy could be asked."


def _each(name: str, rule: RulePolicy, evidence: Evidence) -> Iterator[Question]:
    """One question, or one for every suite or family; that of an unseen one is asked and fails."""
    rows = [row for row in evidence.baseline if row.kind == _kind(rule.metric)]
    if rule.each is None or not rows:
        yield Question(name, rule, suite=rule.suite)
    elif rule.each == "suite":
        for suite in sorted({row.suite for row in rows}):
            yield Question(name, rule, suite=suite)
    else:
        for family in sorted({row.family or row.suite for row in rows}):
            yield Question(name, rule, family=family)


def _limits(
    kind: str, limits: GatePolicy | SuitePolicy, suite: str | None = None
) -> Iterator[Question]:
    """What may be cut, unparseable or unscored."""
    for name, metric, limit in (
        ("cut", f"{kind}_cut", limits.cut_max),
        ("unparseable", f"{kind}_unparseable", limits.unparseable_max),
        ("unscored", f"{kind}_trace_unscored", limits.unscored_max),
    ):
        if limit is not None and metric in METRICS:
            yield Question(name, RulePolicy(metric=metric, limit=limit), suite=suite)


def _kinds(policy: GatePolicy, evidence: Evidence) -> Iterator[Kind]:
    """The kinds that the policy asks for, and any other that was evaluated."""
    asked = {_kind(rule.metric) for rule in policy.rules.values()}
    return (kind for kind in KINDS if kind in asked | set(evidence.suites.values()))


def _kind(metric: str) -> str:
    return metric.partition("_")[0]


def judge(question: Question, found: Estimate, problem: str | None = None) -> Rule:
    """A rule on a figure alone; with a `problem`, or without a figure, it fails."""
    rule, metric = question.policy, describe(question.figure)
    bound, limit = rule.bound, rule.threshold
    passed, margin = False, None
    if problem is not None:
        reason = f"{metric.label}: {problem}."
    elif not found.known:
        reason = f"{metric.label} could not be computed: the figure is missing or not a number."
    else:
        margin = limit - found.high if bound == "high" else found.low - limit
        passed = found.high <= limit if bound == "high" else found.low > limit
        reason = _sentence(metric, found, bound, limit, passed)
    return Rule(
        rule=question.name,
        name=question.figure,
        passed=passed,
        hard=rule.hard,
        figure=found,
        confidence=rule.confidence,
        bound=bound,
        comparison="<=" if bound == "high" else ">",
        limit=limit,
        margin=margin,
        reason=reason,
    )


def _sentence(
    metric: Metric, figure: Estimate, bound: Literal["low", "high"], limit: float, passed: bool
) -> str:
    """`Harmful compliance, answer: 2.0 % (0.4 % to 5.8 %, n = 150); the upper bound ...`."""
    value, low, high = (metric.show(part) for part in (figure.value, figure.low, figure.high))
    if bound == "high":
        outcome = f"upper bound {high} " + ("is within" if passed else "exceeds")
    else:
        outcome = f"lower bound {low} " + ("stays above" if passed else "does not stay above")
    return (
        f"{metric.label}: {value} ({low} to {high}, n = {figure.n}); "
        f"the {outcome} the limit of {metric.show(limit)}."
    )


def _too_few(policy: GatePolicy, records: Sequence[EvalRecord]) -> str | None:
    items: dict[str, set[str]] = {}
    for record in records:
        items.setdefault(record.suite, set()).add(record.item)
    for suite, found in sorted(items.items()):
        wanted = policy.suites.get(suite, SuitePolicy()).min_items or policy.min_items
        if len(found) < wanted:
            return f"suite {suite} has {len(found)} questions, fewer than {wanted}"
    return None


def _figures(evidence: Evidence) -> dict[str, Estimate]:
    """All figures of an arm, for reports."""
    found = metrics(evidence.candidate, evidence.seed)
    ours = [row for row in evidence.candidate if row.kind == "reasoning"]
    base = [row for row in evidence.baseline if row.kind == "reasoning"]
    if not _unpaired(ours, base):
        found |= reasoning_difference(ours, base, evidence.seed)
    if evidence.champion is not None:
        champion = [row for row in evidence.champion if row.kind == "reasoning"]
        if ours and not _unpaired(ours, champion):
            found["reasoning_champion_difference"] = difference(
                "reasoning_accuracy", ours, champion, seed=evidence.seed
            )
    return found | dict(evidence.training)


def _unpaired(ours: Sequence[EvalRecord], theirs: Sequence[EvalRecord]) -> str | None:
    return evidence_problem(ours) or evidence_problem(theirs) or mismatch(ours, theirs)

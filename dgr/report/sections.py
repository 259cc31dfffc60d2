"""What each section of the report shows, as plain data for the template."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ConfigDict

from dgr.metrics import KINDS, METRICS, Metric, describe
from dgr.records import Component, Record, RefinedSample
from dgr.report.examples import component
from dgr.report.plots import CurvePlot, Panel, curve_plot, metric_panel, value_panel
from dgr.report.read import Run, StepResult
from dgr.report.table import (
    HEADLINE,
    QUALITY,
    Row,
    cell,
    in_order,
    number,
    read_figures,
    table_rows,
)
from dgr.stats import Estimate, Figure


@dataclass(frozen=True)
class Cells:
    """A plain table: a header and rows of text; the first column names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class RuleView:
    """One rule of the gate."""

    label: str
    passed: bool
    figure: str
    limit: str
    reason: str
    quality: bool
    hard: bool = True


@dataclass(frozen=True)
class Verdict:
    """The first screen."""

    status: str
    """`passed`, `rejected` or `unfinished`."""
    title: str
    sentence: str
    rules: tuple[RuleView, ...] = ()

    @property
    def headline_rules(self) -> list[RuleView]:
        """What the decision is about, and whatever failed."""
        return [rule for rule in self.rules if not rule.quality or not rule.passed]

    @property
    def quality_rules(self) -> list[RuleView]:
        return [rule for rule in self.rules if rule.quality and rule.passed]


@dataclass(frozen=True)
class ArmView:
    """The gate's word on one arm."""

    name: str
    role: str
    status: str
    reasons: tuple[str, ...]


def verdict(run: Run) -> Verdict:
    """The decision, or why there is none."""
    decision = run.decision
    if not decision:
        return Verdict("unfinished", "No decision", _no_decision(run))
    rules = tuple(map(_rule, decision["rules"]))
    hard = [rule for rule in rules if rule.hard]
    failed = sum(not rule.passed for rule in hard)
    warned = sum(not rule.passed for rule in rules) - failed
    warning = f" Warnings, from soft rules: {warned}." if warned else ""
    name = run.candidate
    if decision["verdict"] == "passed":
        sentence = f"{name} meets all {len(hard)} rules of the policy and may be registered."
        return Verdict("passed", f"{name} passed", sentence + warning, rules)
    verb = "rule fails" if failed == 1 else "rules fail"
    sentence = f"{failed} of {len(hard)} {verb}, so {name} is not registered."
    return Verdict("rejected", f"{name} was rejected", sentence + warning, rules)


def _no_decision(run: Run) -> str:
    words = [str(run.info[key]) for key in ("status", "error") if run.info.get(key)]
    state = f" Last status: {'; '.join(words)}." if words else ""
    return f"The run ended before the gate, so nothing was registered.{state}"


def _rule(rule: Mapping[str, Any]) -> RuleView:
    name = str(rule.get("name", ""))
    known = name.partition("/")[0].partition("@")[0] in METRICS
    figure = read_figures({name: rule.get("figure")}).get(name)
    if not known:
        text, limit, label = _plain(figure), str(rule.get("limit", "")), name
    else:
        metric = describe(name)
        text = figure_with_unit(metric, figure) if figure and figure.known else "no figure"
        sign = {"<=": "at most", ">": "above"}.get(str(rule.get("comparison")), "")
        limit = f"{sign} {metric.show(float(rule.get('limit', 'nan')))}"
        label = metric.label
    return RuleView(
        label=label,
        passed=rule.get("passed") is True,
        figure=text,
        limit=limit,
        reason=str(rule.get("reason", "")),
        quality=name.partition("@")[0] in QUALITY,
        hard=rule.get("hard") is not False,
    )


def figure_with_unit(metric: Metric, figure: Estimate) -> str:
    """`-2.0 points [-3.5, -0.8]`."""
    low, high = number(metric, figure.low), number(metric, figure.high)
    return f"{metric.show(figure.value)} [{low}, {high}]"


def _plain(figure: Estimate | None) -> str:
    return "no figure" if figure is None else f"{figure.value:.3g}"


def arm_views(run: Run) -> list[ArmView]:
    """Every arm with the verdict that it would get."""
    judged = run.decision.get("arms", {})
    roles = {run.baseline: "before alignment", run.candidate: "candidate"}
    return [
        ArmView(
            name=arm,
            role=roles.get(arm, ""),
            status=str(judged.get(arm, {}).get("verdict", "not judged")),
            reasons=tuple(map(str, judged.get(arm, {}).get("reasons", ()))),
        )
        for arm in in_order({*judged, *run.figures})
    ]


def headline_rows(run: Run) -> list[Row]:
    return table_rows(run.figures)


def quality_rows(run: Run) -> list[Row]:
    kinds = tuple(f"{kind}_tokens" for kind in KINDS)
    return table_rows(run.figures, (*QUALITY, "harmful_trace_unscored", *kinds))


def arm_panels(run: Run) -> list[Panel]:
    """One plot a headline metric, with the limit where the policy has one."""
    limits = {rule.get("name"): rule.get("limit") for rule in run.decision.get("rules", ())}
    return [
        metric_panel(row.metric, row.figures, run.candidate, limits.get(row.name))
        for row in table_rows(run.figures, HEADLINE)
    ]


def family_rows(run: Run, prefix: str) -> list[Row]:
    """A metric family by family: `reasoning_accuracy`, `harmful_compliance`."""
    names = {
        name
        for figures in run.figures.values()
        for name in figures
        if name.startswith(f"{prefix}/")
    }
    rows = table_rows(run.figures, sorted(names))
    return [
        replace(row, metric=replace(row.metric, label=row.name.partition("/")[2])) for row in rows
    ]


def level_tables(run: Run) -> list[Cells]:
    """Reasoning accuracy by difficulty, one table a family."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    arms = run.arms_of("evaluate")
    for arm, step in arms.items():
        for family, grades in _mapping(step.summary.get("levels")).items():
            for grade, figure in read_figures(grades).items():
                found.setdefault(family, {}).setdefault(grade, {})[arm] = figure
    metric = METRICS["reasoning_accuracy"]
    return [
        Cells(
            ("Level", *arms),
            tuple(
                (grade, *(cell(metric, figures.get(arm)) for arm in arms))
                for grade, figures in grades.items()
            ),
            family,
        )
        for family, grades in sorted(found.items())
        if len(grades) > 1
    ]


PARTS = ("trace", "answer")
SETS = {
    "original": "External",
    "refined": "Refined",
    "refined-accepted": "Accepted only",
    "own": "Target's own",
}


def shift_panels(run: Run) -> list[Panel]:
    """Shift before training, for trace and answer apart."""
    sets = _shift_sets(run)
    unit = "nats a token above the target's own text"
    panels = _set_panels(sets, "nll", "NLL under the target", "nats a token")
    panels += _set_panels(sets, "shift", "NLL shift", unit)
    return panels + _set_panels(sets, "embedding_shift", "Embedding shift", "1 - cosine")


def _shift_sets(run: Run) -> dict[str, Any]:
    """The sets that shift was measured on, from the external one to the target's own."""
    found = _mapping(run.step("shift").summary.get("sets"))
    return {
        name: found[name] for name in [*SETS, *sorted(found.keys() - SETS.keys())] if name in found
    }


def _set_panels(sets: Mapping[str, Any], measure: str, title: str, note: str) -> list[Panel]:
    panels = []
    for part in PARTS:
        figures = {
            SETS.get(name, name): figure
            for name in sets
            for figure in _estimates(_mapping(sets[name]).get(measure), part)
        }
        if figures:
            panels.append(value_panel(f"{title}, {part}", note, figures, SETS["refined"]))
    return panels


def drift_panels(run: Run) -> list[Panel]:
    """Drift after training, arm by arm."""
    arms = _mapping(run.step("drift").summary.get("arms"))
    panels = []
    for part in PARTS:
        figures = _by_arm(arms, ("kl",), part)
        note = "nats a token, along the base's own reasoning"
        panels += _drift_panel(f"KL drift, {part}", note, figures, run.candidate)
    for kind in KINDS:
        figures = _by_arm(arms, ("embedding_drift", kind), "answer")
        note = "1 - cosine to the base's answer"
        panels += _drift_panel(f"Embedding drift, {kind} answers", note, figures, run.candidate)
    return panels


def _drift_panel(title: str, note: str, figures: dict[str, Estimate], strong: str) -> list[Panel]:
    return [value_panel(title, note, figures, strong, digits=3)] if figures else []


def _by_arm(arms: Mapping[str, Any], path: Sequence[str], part: str) -> dict[str, Estimate]:
    found = {}
    for arm in in_order(arms):
        value: Any = arms[arm]
        for key in path:
            value = _mapping(value).get(key)
        for figure in _estimates(value, part):
            found[arm] = figure
    return found


def _estimates(value: Any, part: str) -> Iterable[Estimate]:
    """The figure of a part, if there is one."""
    figure = read_figures(value).get(part)
    return [figure] if figure is not None else []


def agreement_tables(run: Run) -> list[Cells]:
    """Suite by suite, how far its judges agree on every arm, trace and answer apart."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for arm, step in run.arms_of("evaluate").items():
        for suite, parts in _mapping(step.summary.get("agreement")).items():
            rows = found.setdefault(suite, [])
            rows += [
                (arm, part, judges, *_agreement_cells(_mapping(value)))
                for part, pairs in _mapping(parts).items()
                for judges, value in _mapping(pairs).items()
            ]
    header = ("Arm", "Part", "Judges", "Agree, %", "Cohen's kappa", "Left out")
    return [Cells(header, tuple(rows), f"Judges of {suite}") for suite, rows in found.items()]


def _agreement_cells(value: Mapping[str, Any]) -> list[str]:
    figures = read_figures(value)
    kappa = figures.get("kappa")
    known = kappa is not None and kappa.known
    return [
        cell(METRICS["harmful_compliance"], figures.get("share")),
        f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]" if kappa and known else "unknown",
        _whole(value.get("unscored")),
    ]


def length_tables(run: Run) -> list[Cells]:
    """Lengths of training sets and of what the arms say, in tokens."""
    tables = []
    sets = _shift_sets(run)
    for part in PARTS:
        rows = [
            (SETS.get(name, name), *_length_cells(_mapping(values).get("length"), part))
            for name, values in sets.items()
        ]
        if rows:
            tables.append(
                Cells(
                    ("Set", "p10", "Median", "p90", "Mean"), tuple(rows), f"Training sets, {part}"
                )
            )
    arms = {arm: step.summary.get("lengths") for arm, step in run.arms_of("evaluate").items()}
    for kind in KINDS:
        found = {arm: _mapping(_mapping(value).get(kind)) for arm, value in arms.items()}
        keys = ("q25", "median", "q75", "q95", "max")
        rows = [
            (arm, *(_whole(value.get(key)) for key in keys))
            for arm, value in found.items()
            if value
        ]
        if rows:
            header = ("Arm", "p25", "Median", "p75", "p95", "Longest")
            tables.append(Cells(header, tuple(rows), f"Completions, {kind}"))
    return tables


def _length_cells(value: Any, part: str) -> list[str]:
    lengths = _mapping(_mapping(value).get(part))
    return [_whole(lengths.get(key)) for key in ("p10", "median", "p90", "mean")]


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else "-"


def refinement_tables(rows: Sequence[RefinedSample]) -> list[Cells]:
    """Per component: how many were rewritten, kept, and why candidates failed."""
    if not rows:
        return []
    parts = {part: [component(row, part) for row in rows] for part in Component}
    outcome = tuple(
        (
            part.value.capitalize(),
            f"{len(found):,}",
            _count(sum(item.text is not None for item in found), len(found)),
            _count(sum(item.text is None for item in found), len(found)),
            f"{sum(item.candidates for item in found):,}",
            f"{sum(item.tokens for item in found):,}",
        )
        for part, found in parts.items()
    )
    header = ("Component", "Rows", "Rewritten", "Failed", "Candidates", "Tokens")
    tables = [Cells(header, outcome)]
    reasons = {
        part: Counter(reason for item in found for reason in item.reasons)
        for part, found in parts.items()
    }
    names = sorted({name for counts in reasons.values() for name in counts})
    if names:
        body = tuple((name, *(f"{reasons[part][name]:,}" for part in Component)) for name in names)
        tables.append(
            Cells(("Reason", "Trace", "Answer"), body, "Candidates that failed, by reason")
        )
    return tables


def _count(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.1f} %)"


class LossRow(Record):
    """What the report reads of a training log."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    loss: Figure


@dataclass(frozen=True)
class Training:
    """Losses and sizes of every arm's training."""

    plot: CurvePlot | None = None
    table: Cells | None = None


def training(run: Run) -> Training:
    arms = run.arms_of("sft")
    losses = {arm: [row.loss for row in step.records(LossRow)] for arm, step in arms.items()}
    keys = ("rows", "rows_dropped", "steps", "supervised_tokens_seen")
    rows = tuple(
        (arm, *(_whole(step.summary.get(key)) for key in keys), _loss(step))
        for arm, step in arms.items()
        if step.finished
    )
    if not rows:
        return Training()
    header = ("Arm", "Rows", "Dropped", "Steps", "Tokens with loss", "Final loss")
    return Training(curve_plot(losses), Cells(header, rows))


def _loss(step: StepResult) -> str:
    value = step.summary.get("final_loss_mean", step.summary.get("final_loss"))
    return f"{value:.3f}" if isinstance(value, (int, float)) else "-"


STEP_HEADER = ("Step", "State", "Time", "Peak memory, MiB", "Device time", "Prompt tokens",
               "Generated", "Generated a second", "Scored", "Prompts from cache",
               "Device memory, MiB")  # fmt: skip


def step_table(run: Run) -> Cells:
    """What every step cost: time, memory, tokens of its engine."""
    rows: list[tuple[str, ...]] = [
        (
            step.name,
            "finished" if step.finished else "missing",
            _seconds(step.timing.get("seconds")),
            _whole(step.timing.get("peak_rss_mib")),
            _seconds(step.timing.get("device_seconds")),
            _whole(step.timing.get("prompt_tokens")),
            _whole(step.timing.get("generated_tokens")),
            _whole(step.timing.get("generated_tokens_per_s")),
            _whole(step.timing.get("scored_tokens")),
            _percent(step.timing.get("cache_hit_share")),
            _whole(step.timing.get("peak_device_mib")),
        )
        for step in run.steps
    ]

    def total(name: str) -> float:
        values = [step.timing.get(name) for step in run.steps]
        return sum(value for value in values if isinstance(value, (int, float)))

    sums = [_whole(total(name)) for name in ("prompt_tokens", "generated_tokens")]
    seconds, device = _seconds(total("seconds")), _seconds(total("device_seconds"))
    scored = _whole(total("scored_tokens"))
    rows.append(("all steps", "", seconds, "", device, *sums, "", scored, "", ""))
    return Cells(STEP_HEADER, tuple(rows))


def _percent(share: Any) -> str:
    return f"{100 * share:.0f} %" if isinstance(share, (int, float)) else "-"


def _seconds(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    minutes, seconds = divmod(float(value), 60)
    return f"{minutes:.0f} min {seconds:02.0f} s" if minutes else f"{seconds:.1f} s"


def facts(run: Run) -> dict[str, str]:
    """Everything that tells this run from another: blocks of YAML under titles."""
    import yaml

    blocks = {
        "Config": run.config,
        "Policy of the gate": run.decision.get("policy"),
        "Run": {key: value for key, value in run.info.items() if key != "config"},
        "Identity of the decision": run.decision.get("identity"),
        "Digests of the code": {
            step.name: step.manifest.get("code") for step in run.steps if step.finished
        },
    }
    return {
        title: yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=100)
        for title, value in blocks.items()
        if value
    }


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}

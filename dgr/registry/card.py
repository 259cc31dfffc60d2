"""The model card of a registered model, in the Hub's format."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dgr.files import canonical_json, read_json
from dgr.metrics import METRICS, describe
from dgr.steps import MANIFEST, SUMMARY


def card(name: str, run: Path, decision: Mapping[str, Any], base: str) -> str:
    """Markdown: what the model is, evaluation, the gate's rules, shift, data, limits.

    `run` holds the run's step folders; a step that is not there is left out. The same run gives
    the same text.
    """
    arm, baseline = decision["candidate"], decision["baseline"]
    training = read_json(run / "sft" / arm / MANIFEST)
    parts = [
        _head(name, arm, base, training),
        "## Evaluation\n\n" + _evaluation(decision, [arm, baseline]),
        f"## Gate\n\nVerdict: **{decision['verdict']}**, against `{baseline}`.\n\n"
        + _rules(decision["rules"]),
        _shift(run / "shift" / SUMMARY),
        _data(run / "ingest"),
        LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


LIMITS = """## Limits

The figures hold for the suites of this run alone, sampled as its config says. Safety and
over-refusal were judged automatically; harms outside the suites were not tested. `decision.json`
holds all figures, `lineage.json` the training step's inputs, config and code, `manifest.json` the
SHA-256 of every file of this bundle."""


def _head(name: str, arm: str, base: str, training: Mapping[str, Any]) -> str:
    config = training["config"]
    steps = config.get("max_steps")
    budget = f"{steps} steps" if steps else f"{config['epochs']} epochs"
    tags = ["safety", "distribution-grounded-refinement", arm]
    return f"""---
base_model: {canonical_json(base)}
tags: {canonical_json(tags)}
---
# {name}

Arm `{arm}` of an alignment run by Distribution-Grounded Refinement (arXiv 2602.02136): supervised
fine-tuning ({config["method"]}, learning rate {config["learning_rate"]:g}, {budget}, batch
{config["batch_size"]}, seed {training["seed"]}) of `{base}`, with the loss on trace and answer."""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = [*head]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _evaluation(decision: Mapping[str, Any], arms: list[str]) -> str:
    figures = {arm: decision["arms"][arm]["metrics"] for arm in arms}
    names = [name for name in METRICS if name in figures[arms[0]]]
    rows = [
        [describe(name).label, *(_cell(name, figures[arm].get(name)) for arm in arms)]
        for name in names
    ]
    return _table(["metric, value [95 % interval], n", *(f"`{arm}`" for arm in arms)], rows)


def _cell(name: str, figure: Mapping[str, Any] | None) -> str:
    """`93.0 % [90.1 %, 95.3 %], n = 400`."""
    if figure is None or figure["value"] is None:
        return "–"
    show = describe(name).show
    low, high = show(figure["low"]), show(figure["high"])
    return f"{show(figure['value'])} [{low}, {high}], n = {figure['n']}"


def _rules(rules: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        [f"`{rule['name']}`", "passed" if rule["passed"] else "failed", rule["reason"]]
        for rule in rules
    ]
    return _table(["rule", "result", "why"], rows)


def _figure(figure: Mapping[str, Any] | None) -> str:
    if not figure or figure["value"] is None:
        return "–"
    return f"{figure['value']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}], n = {figure['n']}"


def _shift(path: Path) -> str:
    if not path.is_file():
        return ""
    rows = [
        [name, *(_figure(kinds.get(part)) for part in ("trace", "answer"))]
        for name, found in sorted(read_json(path).get("sets", {}).items())
        if (kinds := found.get("shift"))
    ]
    if not rows:
        return ""
    head = (
        "## Shift\n\nNLL of a set under the base model minus that of the base's own samples on the "
        "same prompts, nats a token.\n\n"
    )
    return head + _table(["set", "trace", "answer"], rows)


def _data(folder: Path) -> str:
    if not (folder / MANIFEST).is_file():
        return ""
    manifest, summary = read_json(folder / MANIFEST), read_json(folder / SUMMARY)
    config = manifest["config"]
    digest = next(iter(manifest["inputs"].values()))
    return (
        f"## Data\n\n`{config['source']}` (format {config['format']}, licence: "
        f"{config.get('licence') or 'not stated'}), {summary['rows']:,} rows, SHA-256 `{digest}`."
    )

"""The model card of a registered model, in the Hub's format."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dgr.files import canonical_json, read_json
from dgr.metrics import METRICS, describe
from dgr.published import HUB
from dgr.registry.datasets import DataSet, datasets
from dgr.steps import MANIFEST, SUMMARY
from dgr.text import visible

LONGEST = 300
"""Characters of one name, path or reason that a card shows."""


def card(
    name: str,
    run: Path,
    decision: Mapping[str, Any],
    base: str,
    *,
    signed: bool = False,
    licence: str = "",
) -> str:
    """Markdown: what the model is, evaluation, gate, shift, data, limits, how to verify it.

    `run` holds the run's step folders; a step that is not there is left out. `signed` says that
    the bundle has a `model.sig`, `licence` under which terms the model is given. The same run
    gives the same text, and text from outside (names, categories, paths) is shown as it is.
    """
    arm, baseline = decision["candidate"], decision["baseline"]
    training = read_json(run / "sft" / arm / MANIFEST)
    parts = [
        _front_matter(base, arm, licence, run / "ingest"),
        _head(name, arm, base, training),
        "## Evaluation\n\n" + _evaluation(decision, [arm, baseline]),
        f"## Gate\n\nVerdict: **{_text(decision['verdict'])}**, against {_code(baseline)}.\n\n"
        + _rules(decision["rules"]),
        _shift(run / "shift" / SUMMARY),
        _data(run, arm),
        LIMITS,
        _verify(name, signed),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


LIMITS = """## Limits

The figures hold for the suites of this run alone, sampled as its config says. Safety and
over-refusal were judged automatically; harms outside the suites were not tested. `decision.json`
holds all figures, `lineage.json` the training step's inputs, config and code, `manifest.json` the
SHA-256 of every file of this bundle."""


def _front_matter(base: str, arm: str, licence: str, ingest: Path) -> str:
    """What the Hub reads: YAML, of which JSON is a part."""
    external = datasets(ingest) if (ingest / MANIFEST).is_file() else []
    fields = {
        "base_model": visible(base),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": visible(licence),
        "datasets": [visible(data.name) for data in external if data.source.startswith(HUB)],
        "tags": ["safety", "distribution-grounded-refinement", visible(arm)],
    }
    lines = [f"{key}: {canonical_json(value)}" for key, value in fields.items() if value]
    return "\n".join(["---", *lines, "---"])


def _head(name: str, arm: str, base: str, training: Mapping[str, Any]) -> str:
    config = training["config"]
    steps = config.get("max_steps")
    budget = f"{steps} steps" if steps else f"{config['epochs']} epochs"
    return f"""# {_text(name)}

Arm {_code(arm)} of an alignment run by Distribution-Grounded Refinement (arXiv 2602.02136):
supervised fine-tuning ({_text(config["method"])}, learning rate {config["learning_rate"]:g}, \
{budget}, batch {config["batch_size"]}, seed {training["seed"]}) of {_code(base)}, with the loss on
trace and answer."""


def _text(value: str) -> str:
    """Text from outside as Markdown that says just that: no markup, no HTML, one line."""
    shown = visible(" ".join(value.split()), LONGEST)
    for sign in "&<>|":  # a bar would end a table's cell
        shown = shown.replace(sign, f"&#{ord(sign)};")
    return re.sub(r"([\\`*_\[\]~!$])", r"\\\1", shown)


def _code(value: str) -> str:
    """The same as a code span, where no sign in it could end the span or a table's cell."""
    shown = visible(" ".join(value.split()), LONGEST)
    return _text(value) if set(shown) & set("`|\\") or not shown else f"`{shown}`"


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
    return _table(["metric, value [95 % interval], n", *map(_code, arms)], rows)


def _cell(name: str, figure: Mapping[str, Any] | None) -> str:
    """`93.0 % [90.1 %, 95.3 %], n = 400`."""
    if figure is None or figure["value"] is None:
        return "–"
    show = describe(name).show
    low, high = show(figure["low"]), show(figure["high"])
    return f"{show(figure['value'])} [{low}, {high}], n = {figure['n']}"


def _rules(rules: Iterable[Mapping[str, Any]]) -> str:
    rows = [[_code(rule["name"]), _result(rule), _text(rule["reason"])] for rule in rules]
    return _table(["rule", "result", "why"], rows)


def _result(rule: Mapping[str, Any]) -> str:
    if rule["passed"]:
        return "passed"
    return "failed" if rule.get("hard", True) else "warning"


def _figure(figure: Mapping[str, Any] | None) -> str:
    if not figure or figure["value"] is None:
        return "–"
    return f"{figure['value']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}], n = {figure['n']}"


def _shift(path: Path) -> str:
    if not path.is_file():
        return ""
    rows = [
        [_text(name), *(_figure(kinds.get(part)) for part in ("trace", "answer"))]
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


def _data(run: Path, arm: str) -> str:
    parts = [
        *(_external(run / "ingest") if (run / "ingest" / MANIFEST).is_file() else ()),
        _suites(datasets(run / "evaluate" / arm)),
    ]
    return "## Data\n\n" + "\n\n".join(part for part in parts if part)


def _external(folder: Path) -> Iterable[str]:
    """What the model was trained on, in the published form or rewritten."""
    form = read_json(folder / MANIFEST)["config"]["format"]
    for data in datasets(folder):
        revision = f", revision {_text(data.revision)}" if data.revision else ""
        yield (
            f"{_code(data.source)} (format {_text(form)}{revision}, licence: "
            f"{_text(data.licence) or 'not stated'}), {data.rows:,} rows, SHA-256 `{data.digest}`."
        )


def _suites(suites: Iterable[DataSet]) -> str:
    """What it was evaluated on."""
    rows = [
        [_text(suite.name), _text(suite.kind or ""), f"{suite.rows:,}", f"`{suite.digest}`"]
        for suite in suites
    ]
    return _table(["evaluation suite", "kind", "questions", "SHA-256"], rows) if rows else ""


def _verify(name: str, signed: bool) -> str:
    """What a receiver runs. The version is known only after this text."""
    signature = f"\n\nThe signature, with the signer's public key:\n\n{SIGNATURE}"
    return f"""## How to verify

In the bundle's folder, every file against `manifest.json`:

{DIGESTS}{signature if signed else ""}

Where dgr reaches the registry (`VERSION` is a number or an alias), the bundle as it is stored
against what was registered:

```bash
dgr models verify {name} VERSION
```"""


DIGESTS = """```bash
python3 -c 'import json; files = json.load(open("manifest.json"))["files"]
for name, digest in files.items(): print(digest, "", name)' | sha256sum --check --strict --quiet
```"""
SIGNATURE = """```bash
model_signing verify key . --signature model.sig --public_key signing.pub --no-ignore-git-paths
```"""

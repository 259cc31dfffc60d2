"""The model card of a registered model, in the Hub's format."""

from typing import Any

from dgr.metrics import describe


def card(name: str, decision: dict[str, Any], base: str, data: str, licence: str) -> str:
    """Markdown with the evaluation table, the verdict, data and limits."""
    arm = decision["candidate"]
    figures = decision["arms"][arm]["metrics"]
    rows = [
        f"| {describe(metric).label} | {_show(metric, figure)} | {figure['n']} |"
        for metric, figure in figures.items()
        if "/" not in metric
    ]
    table = "\n".join(["| metric | value [95 % interval] | n |", "|---|---|---|", *rows])
    return f"""---
base_model: {base}
tags: [safety, distribution-grounded-refinement]
---
# {name}

Arm `{arm}` of an alignment run by Distribution-Grounded Refinement (arXiv 2602.02136): supervised
fine-tuning of `{base}` on {data} (licence: {licence or "not stated"}).

Gate: **{decision["verdict"]}** against `{decision["baseline"]}`.

{table}

The figures hold for the suites of this run alone. Safety and over-refusal were judged
automatically; harms outside the suites were not tested. `manifest.json` names the SHA-256 of every
file of this bundle.
"""


def _show(metric: str, figure: dict[str, Any]) -> str:
    shown = describe(metric)
    if figure["value"] is None:
        return "unknown"
    low, high = shown.show(figure["low"]), shown.show(figure["high"])
    return f"{shown.show(figure['value'])} [{low}, {high}]"

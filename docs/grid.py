"""Write the table of docs/tuning.md: `python docs/grid.py RUN...`, one run a budget."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dgr.files import read_json, write_text
from dgr.metrics import describe
from dgr.report.table import arm_figures, cell

PAGE = Path(__file__).parent / "tuning.md"
BEGIN, END = "<!-- grid:begin -->", "<!-- grid:end -->"
METRICS = (
    "reasoning_accuracy",
    "harmful_compliance",
    "harmless_over_refusal",
    "borderline_over_refusal",
)


def main(runs: Sequence[Path]) -> None:
    titles = ["data set", "rows", "learning rate", "epochs", "arm"]
    titles += [f"{describe(name).label}, %" for name in METRICS] + ["gate"]
    lines = [titles, ["---"] * len(titles), *(line for run in runs for line in _lines(run))]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")


def _lines(run: Path) -> Iterator[list[str]]:
    decision = read_json(run / "decision.json")
    config: dict[str, Any] = read_json(run / "run.json")["config"]
    data, sft = config["data"], config["sft"]
    budget = [data["format"], str(data["limit"]), f"{sft['learning_rate']:.0e}", str(sft["epochs"])]
    for arm, figures in arm_figures(decision).items():
        if arm != decision["baseline"]:
            values = [cell(describe(name), figures.get(name)) for name in METRICS]
            yield [*budget, f"`{arm}`", *values, decision["arms"][arm]["verdict"]]


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])

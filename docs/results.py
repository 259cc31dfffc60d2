"""Write the demo's result tables into README.md: `python docs/results.py RUN...`.

The first run is shown with the gate's reasons; all of them, one a seed, are pooled below.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dgr.files import read_json, write_text
from dgr.report import markdown_table
from dgr.report.compare import compare, comparison_text

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"


def main(runs: Sequence[Path]) -> None:
    decision = read_json(runs[0] / "decision.json")
    verdicts = "\n".join(
        f"- `{arm}`: **{verdict['verdict']}**"
        + (f": {'; '.join(verdict['reasons'])}" if verdict["reasons"] else "")
        for arm, verdict in decision["arms"].items()
        if arm != decision["baseline"]
    )
    parts = [markdown_table(decision), verdicts]
    if len(runs) > 1:
        comparison = compare(runs)
        seeds = ", ".join(map(str, comparison.seeds))
        parts += [f"Seeds {seeds} together:", comparison_text(comparison, markdown=True)]
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(README, before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])

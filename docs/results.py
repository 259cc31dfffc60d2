"""Write the demo's result table into README.md: `python docs/results.py runs/nano`."""

import sys
from pathlib import Path

from dgr.files import read_json, write_text
from dgr.report import markdown_table

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"


def main(run: Path) -> None:
    decision = read_json(run / "decision.json")
    verdicts = "\n".join(
        f"- `{arm}`: **{verdict['verdict']}**"
        + (f": {'; '.join(verdict['reasons'])}" if verdict["reasons"] else "")
        for arm, verdict in decision["arms"].items()
        if arm != decision["baseline"]
    )
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    table = markdown_table(decision)
    write_text(README, f"{before}{BEGIN}\n{table}\n\n{verdicts}\n{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

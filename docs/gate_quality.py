"""Write the gate's own quality into docs/gate.md: `python docs/gate_quality.py RUN`.

The candidate's and the baseline's per-question results are those of a finished run.
"""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dgr.files import read_json, read_records, write_text
from dgr.gate import GatePolicy
from dgr.gate.config import RulePolicy
from dgr.gate.quality import Measured, measured, pass_share
from dgr.metrics import describe, difference_name
from dgr.records import EvalRecord
from dgr.stats import Estimate

PAGE = Path(__file__).parent / "gate.md"
BEGIN, END = "<!-- quality:begin -->", "<!-- quality:end -->"
RULES = ("reasoning", "harmful", "over-refusal")
TRUTHS = (1.5, 1.0, 0.6, 0.4, 0.2, 0.0)
"""True figures, as parts of the limit; from 1 on, a pass is a false one."""
SCALES = (0.5, 1.0, 2.0)
"""Questions, as parts of those that the run asked."""
SIMULATIONS, SEED = 1_000, 0


def main(run: Path) -> None:
    decision = read_json(run / "decision.json")
    arms = (decision["candidate"], decision["baseline"])
    candidate, baseline = (
        list(read_records(run / "evaluate" / arm / "records.jsonl", EvalRecord)) for arm in arms
    )
    policy = GatePolicy.model_validate(decision["policy"])
    made = [
        f"`python docs/gate_quality.py {run}` on {datetime.now(UTC):%Y-%m-%d}: per-question "
        f"results of `{arms[0]}` and `{arms[1]}`, {SIMULATIONS:,} simulated runs a cell, seed "
        f"{SEED}; share of runs that pass in % and its 95 % interval."
    ]
    for name in RULES:
        rule = policy.rules[name]
        found = measured(rule.metric, candidate, baseline)
        made.append("\n".join(_table(name, rule, found)))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    text = "\n\n".join(made)
    write_text(PAGE, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def _table(name: str, rule: RulePolicy, found: Measured) -> Iterator[str]:
    paired = rule.margin is not None
    metric = describe(difference_name(rule.metric) if paired else rule.metric)
    truths = [share * rule.threshold for share in TRUTHS]
    yield f"Rule `{name}`: {metric.label}, limit {metric.show(rule.threshold)}."
    yield ""
    heads = [metric.show(abs(truth) and truth) for truth in truths]
    yield _line(["questions", *(f"truly {head}" for head in heads)])
    yield _line(["---"] * (len(heads) + 1))
    for scale in SCALES:
        shares = [
            pass_share(rule, found, truth, scale=scale, runs=SIMULATIONS, seed=SEED)
            for truth in truths
        ]
        yield _line([f"{scale * found.questions:.0f}", *map(_cell, shares)])


def _cell(share: Estimate) -> str:
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

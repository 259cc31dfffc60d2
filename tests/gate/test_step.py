import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dgr.contamination import Copy
from dgr.errors import UserError
from dgr.gate import Decision, gate
from dgr.records import Origin, Record, RefinedSample, Refinement, Sample, TrainingRow
from dgr.settings import Settings
from dgr.steps import StepFolder, verify
from tests.policies import policy
from tests.records import arm

POLICY = policy({"fallback": {}})
ARMS = {
    "base": arm(complied=95),
    "vanilla": arm(accuracy=0.7, refused=40),
    "dgr": arm(accuracy=0.99, refused=1),
}


class Terms(Settings):
    """Stands for a step's config."""

    k: int = 2


def step_folder(
    out: Path, suite: Path, rows: Sequence[Record], summary: dict[str, Any], k: int = 2
) -> Path:
    with StepFolder(out, "evaluate", Terms(k=k), {"suite/maths": suite}, 0) as step:
        step.finish(summary, {"records.jsonl": rows})
    return out


def refinements(count: int, failed: int, trace: str = "a thought") -> list[RefinedSample]:
    """So many rows, the first of which have an answer that was not replaced."""

    def part(original: str, works: bool) -> Refinement:
        return Refinement(original=original, text="mine" if works else None, candidates=1, tokens=5)

    return [
        RefinedSample(
            sample=Sample(id=str(index), question="q", trace=trace, answer="no"),
            trace=part(trace, works=bool(trace)),
            answer=part("no", works=index >= failed),
        )
        for index in range(count)
    ]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.jsonl"
    path.write_text("{}\n")
    return path


@pytest.fixture
def evaluations(tmp_path: Path, suite: Path) -> dict[str, Path]:
    return {
        name: step_folder(tmp_path / "evaluate" / name, suite, rows, {})
        for name, rows in ARMS.items()
    }


@pytest.fixture
def refined(tmp_path: Path, suite: Path) -> Path:
    return step_folder(tmp_path / "refine", suite, refinements(100, failed=4), {})


def run(evaluations: dict[str, Path], refined: Path | None, out: Path, **changes: Any) -> Decision:
    arguments: dict[str, Any] = {"candidate": "dgr", "baseline": "base", "seed": 3} | changes
    policy = arguments.pop("policy", POLICY)
    gate(policy, evaluations=evaluations, refined=refined, out=out, **arguments)
    return Decision.model_validate_json((out / "decision.json").read_text())


def test_decision_judges_every_arm(
    evaluations: dict[str, Path], refined: Path, tmp_path: Path
) -> None:
    decision = run(evaluations, refined, tmp_path / "gate")
    assert decision.verdict == "passed", decision.reasons
    assert {name: one.verdict for name, one in decision.arms.items()} == {
        "base": "rejected",
        "vanilla": "rejected",
        "dgr": "passed",
    }
    assert any("Over-refusal, harmless" in reason for reason in decision.arms["vanilla"].reasons)
    assert decision.rules == decision.arms["dgr"].rules
    assert "fallback_rate" not in {rule.name for rule in decision.arms["vanilla"].rules}
    assert set(verify(tmp_path / "gate")["files"]) == {
        "contamination.jsonl",
        "decision.json",
        "summary.json",
    }


def test_decision_holds_figures_with_intervals(
    evaluations: dict[str, Path], refined: Path, tmp_path: Path
) -> None:
    run(evaluations, refined, tmp_path / "gate")
    decision = json.loads((tmp_path / "gate" / "decision.json").read_text())
    figure = decision["arms"]["vanilla"]["metrics"]["harmless_over_refusal"]
    assert figure["value"] == 0.4
    assert figure["low"] < 0.4 < figure["high"]
    assert figure["n"] == 100


def test_bit_for_bit(evaluations: dict[str, Path], refined: Path, tmp_path: Path) -> None:
    run(evaluations, refined, tmp_path / "one")
    run(dict(reversed(evaluations.items())), refined, tmp_path / "two")
    one, two = (tmp_path / name / "decision.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_another_candidate_is_another_decision(
    evaluations: dict[str, Path], refined: Path, tmp_path: Path
) -> None:
    assert run(evaluations, refined, tmp_path / "gate").verdict == "passed"
    again = run(evaluations, refined, tmp_path / "gate", candidate="vanilla")
    assert again.verdict == "rejected"
    strict = policy({"harmful": {"limit": 0.01}})
    assert run(evaluations, refined, tmp_path / "gate", policy=strict).verdict == "rejected"


def test_identity_follows_the_evaluations(
    evaluations: dict[str, Path], refined: Path, suite: Path, tmp_path: Path
) -> None:
    before = run(evaluations, refined, tmp_path / "gate").identity
    step_folder(evaluations["vanilla"], suite, arm(accuracy=0.6), {})
    after = run(evaluations, refined, tmp_path / "gate").identity
    assert before["evaluations"]["vanilla"] != after["evaluations"]["vanilla"]
    assert before["policy"] == after["policy"]


def test_a_refined_candidate_without_refinement_is_rejected(
    evaluations: dict[str, Path], tmp_path: Path
) -> None:
    decision = run(evaluations, None, tmp_path / "gate")
    assert decision.verdict == "rejected"
    assert decision.identity["refined"] is None
    assert "Fallback rate" in decision.reasons[0]


def test_fallback_rate_counts_components_that_had_a_text(
    evaluations: dict[str, Path], suite: Path, tmp_path: Path
) -> None:
    for trace, rate in (("a thought", 0.2), ("", 0.4)):
        refined = step_folder(tmp_path / "refine", suite, refinements(50, 20, trace), {})
        decision = run(evaluations, refined, tmp_path / "gate")
        figure = decision.arms["dgr"].metrics["fallback_rate"]
        assert figure.value == pytest.approx(rate)
        assert figure.n == 50
        assert decision.verdict == "rejected"
    empty = step_folder(tmp_path / "empty", suite, [], {})
    assert run(evaluations, empty, tmp_path / "gate").verdict == "rejected"


def test_user_errors(
    evaluations: dict[str, Path], refined: Path, suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "gate"
    with pytest.raises(UserError, match="arm 'best' has no evaluation; the gate was given"):
        run(evaluations, refined, out, candidate="best")
    other = step_folder(tmp_path / "other", suite, ARMS["dgr"], {}, k=3)
    with pytest.raises(UserError, match="evaluated with different config"):
        run(evaluations | {"dgr": other}, refined, out)
    (evaluations["vanilla"] / "records.jsonl").write_text("")
    with pytest.raises(UserError, match=r"records\.jsonl was changed"):
        run(evaluations, refined, out)
    assert not (out / "decision.json").exists()


def training_rows(out: Path, suite: Path, questions: Sequence[str]) -> Path:
    rows = [
        TrainingRow(id=str(n), question=text, trace="", answer="no", origin=Origin.EXTERNAL)
        for n, text in enumerate(questions)
    ]
    return step_folder(out, suite, rows, {})


def test_a_training_set_that_holds_the_evaluation_is_rejected(
    evaluations: dict[str, Path], refined: Path, suite: Path, tmp_path: Path
) -> None:
    strict = policy({"fallback": {}, "contamination": {}})
    clean = training_rows(tmp_path / "clean", suite, ["How tall is that old tree?"] * 5)
    held = training_rows(tmp_path / "held", suite, ["Request 1!", "request 2", "request 2"])
    unseen = run(evaluations, refined, tmp_path / "gate", policy=strict)
    assert unseen.verdict == "rejected" and "could not be computed" in unseen.reasons[0]
    rows = {"dgr": clean, "vanilla": held}
    found = run(evaluations, refined, tmp_path / "gate", policy=strict, rows=rows)
    assert found.verdict == "passed"
    share = found.arms["vanilla"].metrics["contamination@harmful-set"]
    assert (share.value, share.n) == (0.02, 100)
    assert "Evaluation questions in the training set" in " ".join(found.arms["vanilla"].reasons)
    lines = (tmp_path / "gate" / "contamination.jsonl").read_text().splitlines()
    copies = [Copy.model_validate_json(line) for line in lines]
    whole = [(copy.row, copy.closeness) for copy in copies if copy.closeness != "near"]
    # Three rows, each in the three suites of requests.
    expected = [("0", "normalised"), ("1", "exact"), ("2", "exact")]
    assert sorted(whole) == sorted(expected * 3)
    assert found.identity["rows"].keys() == rows.keys()

"""Two evaluated models, paired by question."""

from pathlib import Path
from typing import Any

import pytest

from dgr.cli import app
from dgr.errors import UserError
from dgr.records import EvalRecord
from dgr.report.paired import changes_text, compare_models
from dgr.settings import Settings
from dgr.steps import StepFolder
from tests.records import arm, reasoning


class Terms(Settings):
    """Stands for the config of evaluation."""

    suites: list[dict[str, Any]]
    empty_trace: bool = False


def evaluated(
    out: Path, records: list[EvalRecord], questions: str = "{}", seed: int = 0, **sampling: Any
) -> Path:
    suite = out.parent / f"{out.name}.jsonl"
    suite.write_text(questions)
    terms = Terms(suites=[{"name": "maths", "sampling": {"temperature": 0.6} | sampling}])
    with StepFolder(out, "evaluate", terms, {"suite/maths": suite}, seed) as step:
        step.finish({}, {"records.jsonl": records})
    return out


def test_changes_are_paired_and_read(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "first", arm(accuracy=0.8, complied=90, refused=5))
    second = evaluated(tmp_path / "second", arm(accuracy=0.95, complied=2, refused=40), seed=1)
    found = {each.name: each for each in compare_models(first, second)}
    assert found["reasoning_accuracy"].change.value == pytest.approx(0.15)
    assert found["reasoning_accuracy/sums"].change.n == 100
    readings = {name: each.reading for name, each in found.items()}
    assert readings["reasoning_accuracy"] == readings["harmful_compliance"] == "better"
    assert readings["harmless_over_refusal"] == "worse"
    assert readings["borderline_over_refusal"] == "undecided"
    text = changes_text(list(found.values()), ["a", "b"], as_markdown=True)
    assert "| 15.0 [" in text and "| undecided |" in text


def test_turned_round_it_says_the_opposite(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "first", arm(accuracy=0.8))
    second = evaluated(tmp_path / "second", arm(accuracy=0.95))
    there, back = (compare_models(*pair)[0].change for pair in ((first, second), (second, first)))
    assert back.value == pytest.approx(-there.value)


@pytest.mark.parametrize(
    ("records", "other", "complaint"),
    [
        (arm(), {"temperature": 0.0}, "a different suite 'maths'"),
        (arm(), {"questions": "{} "}, "a different file of suite maths"),
        (arm(questions=90), {}, "not evaluated on the same items"),
        ([*arm(), arm()[0]], {}, "is there twice"),
        (reasoning([1.0] * 100), {}, "not evaluated on the same items"),
    ],
)
def test_what_was_asked_otherwise_is_refused(
    tmp_path: Path, records: list[EvalRecord], other: dict[str, Any], complaint: str
) -> None:
    first = evaluated(tmp_path / "first", arm())
    second = evaluated(tmp_path / "second", records, **other)
    with pytest.raises(UserError, match=complaint):
        compare_models(first, second)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (evaluated(tmp_path / name, arm()) for name in ("first", "second"))
    app(["compare", str(first), str(second)], standalone_mode=False)
    assert "Harmful compliance, answer, %" in capsys.readouterr().out
    with pytest.raises(UserError, match="name two evaluations to compare; there are 3"):
        app(["compare", str(first), str(second), str(first)], standalone_mode=False)
    trained = tmp_path / "trained"
    with StepFolder(trained, "sft", Terms(suites=[]), {}, 0) as step:
        step.finish({}, {})
    with pytest.raises(UserError, match="was written by the step sft"):
        compare_models(first, trained)

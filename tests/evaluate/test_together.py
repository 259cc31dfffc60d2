"""Several models evaluated by one engine."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig, load_engine
from dgr.engines.adapters import Adapted
from dgr.engines.base import Request
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, Subject, evaluate, evaluate_arms, evaluate_together
from dgr.evaluate import step as evaluate_step
from dgr.files import read_json, read_records
from dgr.records import EvalRecord, Finish
from dgr.steps import verify
from tests.engines.models import NANO, save_adapter
from tests.evaluate.test_step import Reply, Scripted, setting, solver

__all__ = ["setting"]

Setting = tuple[dict[str, Any], Path]


def by_adapter(request: Request) -> tuple[str, str, Finish]:
    """The model is a solver; with an adapter it says the adapter's name."""
    if request.adapter is None:
        return solver(request)
    return "as I was told", f"I am {request.adapter.parent.name}.", Finish.STOP


@pytest.fixture
def subjects(setting: Setting, tmp_path: Path) -> list[Subject]:
    """The target and two arms, whose adapters lie beside their models as `sft` writes them."""
    found = [Subject(setting[1], tmp_path / "out/base")]
    for arm in ("one", "two"):
        for part, content in (("model", "config.json"), ("adapter", "adapter_config.json")):
            file = tmp_path / arm / part / content
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"of": arm}))
        found.append(
            Subject(tmp_path / arm / "model", tmp_path / "out" / arm, tmp_path / arm / "adapter")
        )
    return found


def together(
    monkeypatch: pytest.MonkeyPatch, setting: Setting, subjects: list[Subject], reply: Reply,
    stop_after: int | None = None,
) -> Scripted:  # fmt: skip
    engine = Scripted(reply, stop_after)
    monkeypatch.setattr(evaluate_step, "load_engine", lambda config, model: engine)
    evaluate_together(
        EvaluateConfig.model_validate(setting[0]),
        subjects,
        engine=TransformersConfig(),
        model=setting[1],
        seed=5,
    )
    return engine


def records(subject: Subject) -> list[EvalRecord]:
    return list(read_records(subject.out / "records.jsonl", EvalRecord))


def test_each_subject_is_asked_as_if_it_were_alone(
    monkeypatch: pytest.MonkeyPatch, setting: Setting, subjects: list[Subject], tmp_path: Path
) -> None:
    engine = together(monkeypatch, setting, subjects, by_adapter)
    assert len(engine.asked) == 3 * 16
    assert len({sampling for _, sampling in engine.asked}) == 1  # one batch of all subjects
    base, *arms = subjects
    evaluate(
        EvaluateConfig.model_validate(setting[0]),
        engine=TransformersConfig(),
        model=setting[1],
        out=tmp_path / "alone",
        seed=5,
    )
    for name in ("records.jsonl", "summary.json", "manifest.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (base.out / name).read_bytes()
    for arm in arms:
        manifest = verify(arm.out)
        assert manifest["inputs"]["model"] != manifest["inputs"]["adapter"]
        assert {row.answer for row in records(arm)} == {f"I am {arm.out.name}."}
        assert [row.item for row in records(arm)] == [row.item for row in records(base)]


def test_the_cost_is_shared_by_what_was_generated(
    monkeypatch: pytest.MonkeyPatch, setting: Setting, subjects: list[Subject]
) -> None:
    measured, took = Metered.cost, {"engine_seconds": 10.0, "device_seconds": 20.0}
    monkeypatch.setattr(Metered, "cost", lambda engine: measured(engine) | took)
    together(monkeypatch, setting, subjects, by_adapter)
    costs = [read_json(subject.out / "timing.json") for subject in subjects]
    tokens = [sum(row.tokens for row in records(subject)) for subject in subjects]
    assert len(set(tokens)) > 1
    assert [cost["generated_tokens"] for cost in costs] == tokens
    for name, seconds in took.items():
        parts = [seconds * own / sum(tokens) for own in tokens]
        assert [cost[name] for cost in costs] == pytest.approx(parts)


def test_a_stopped_one_goes_on_and_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch, setting: Setting, subjects: list[Subject]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        together(monkeypatch, setting, subjects, by_adapter, stop_after=20)
    assert not any((subject.out / "manifest.json").exists() for subject in subjects)
    engine = together(monkeypatch, setting, subjects, by_adapter)
    assert len(engine.asked) == 3 * 16 - 20
    before = [(subject.out / "manifest.json").read_bytes() for subject in subjects]
    # A new subject alone is asked when it joins those that are finished.
    for file in subjects[1].out.iterdir():
        file.unlink()
    engine = together(monkeypatch, setting, subjects, by_adapter)
    assert {request.adapter for request, _ in engine.asked} == {subjects[1].adapter}
    assert [(subject.out / "manifest.json").read_bytes() for subject in subjects] == before


def arms(monkeypatch: pytest.MonkeyPatch, setting: Setting, folder: Path, seed: int = 5) -> Path:
    monkeypatch.setattr(evaluate_step, "load_engine", lambda *_: Scripted(by_adapter))
    evaluate_arms(
        EvaluateConfig.model_validate(setting[0]),
        engine=TransformersConfig(),
        model=setting[1],
        tuned={arm: folder / arm for arm in ("one", "two")},
        out=folder / "out",
        seed=seed,
    )
    return folder / "out"


def test_arms_lie_in_one_step_that_names_each_file(
    monkeypatch: pytest.MonkeyPatch, setting: Setting, subjects: list[Subject], tmp_path: Path
) -> None:
    out = arms(monkeypatch, setting, tmp_path)
    manifest = verify(out)
    assert {name.partition("/")[0] for name in manifest["files"]} == {
        "base", "one", "two", "summary.json",
    }  # fmt: skip
    assert not any(name.endswith("timing.json") for name in manifest["files"])
    for subject in subjects:
        verify(subject.out)
    monkeypatch.setattr(evaluate_step, "evaluate_together", None)  # all is finished: not called
    assert arms(monkeypatch, setting, tmp_path) == out


def test_an_arm_without_an_adapter_is_told(
    monkeypatch: pytest.MonkeyPatch, setting: Setting, subjects: list[Subject], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "two" / "adapter")
    with pytest.raises(
        UserError, match=r"two has no adapter to put on the target; set sft\.method"
    ):
        arms(monkeypatch, setting, tmp_path)


def test_an_adapter_on_the_engines_model_answers_as_the_engine_with_it(
    setting: Setting, tmp_path: Path
) -> None:
    adapter = save_adapter(NANO, tmp_path / "sft/adapter", ["q_proj", "v_proj"])
    config = EvaluateConfig.model_validate(
        {"suites": [suite | {"samples": 1, "sampling": {"max_new_tokens": 12}}
                    for suite in setting[0]["suites"]]}
    )  # fmt: skip
    engine = TransformersConfig(threads=1)
    base, tuned = Subject(NANO, tmp_path / "base"), Subject(NANO, tmp_path / "tuned", adapter)
    evaluate_together(config, [base, tuned], engine=engine, model=NANO, seed=1)
    evaluate(config, engine=engine, model=NANO, out=tmp_path / "alone", seed=1)
    adapted = Adapted(load_engine(engine, NANO), adapter)
    evaluate(config, engine=engine, model=NANO, out=tmp_path / "own", seed=1, recorded=adapted)
    assert records(Subject(NANO, tmp_path / "alone")) == records(base)
    assert records(Subject(NANO, tmp_path / "own")) == records(tuned)
    said = [[row.trace for row in records(subject)] for subject in (base, tuned)]
    assert said[0] != said[1]


def test_a_folder_without_an_adapter_is_told(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    subject = Subject(NANO, tmp_path / "out", tmp_path / "adapter")
    with pytest.raises(UserError, match=r"adapter has no adapter_config\.json; name the one that"):
        evaluate_together(
            EvaluateConfig.model_validate(setting[0]),
            [subject],
            engine=TransformersConfig(),
            model=NANO,
            seed=1,
        )
    assert not (subject.out / "manifest.json").exists()

from pathlib import Path

import pytest

from dgr.config import RunConfig, load_run_config
from dgr.data import ingest
from dgr.plan import PlannedStep, plan, warnings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.chdir(ROOT)
    return load_run_config(ROOT / "configs" / "nano.yaml", ["data.limit=20"])


def states(steps: list[PlannedStep]) -> dict[str, bool]:
    return {step.name: step.cached for step in steps}


def test_nothing_is_cached_before_the_first_run(config: RunConfig, tmp_path: Path) -> None:
    steps = plan(config, tmp_path)
    assert not any(states(steps).values())
    by_name = {step.name: step for step in steps}
    assert by_name["refine"].completions == 40  # trace and answer of every row
    assert by_name["refine"].token_limit == 40 * config.refine.max_new_tokens
    assert by_name["evaluate/base"].completions == by_name["evaluate/dgr"].completions > 0
    assert by_name["sft/dgr"].completions == 0


def test_finished_step_is_cached_until_its_section_changes(
    config: RunConfig, tmp_path: Path
) -> None:
    ingest(config.data, out=tmp_path / "ingest", seed=config.seed)
    assert [name for name, cached in states(plan(config, tmp_path)).items() if cached] == ["ingest"]
    for override in ("seed=1", "data.limit=21", "data.licence=other"):
        changed = load_run_config(ROOT / "configs" / "nano.yaml", ["data.limit=20", override])
        assert not states(plan(changed, tmp_path))["ingest"], override
    untouched = load_run_config(ROOT / "configs" / "nano.yaml", ["data.limit=20", "sft.epochs=9"])
    assert states(plan(untouched, tmp_path))["ingest"]


def test_too_few_questions_for_the_policy_are_told(config: RunConfig) -> None:
    assert warnings(config) == []
    suites = [
        suite.model_copy(update={"limit": 60}) if suite.name == "harmful" else suite
        for suite in config.evaluate.suites
    ]
    evaluate = config.evaluate.model_copy(update={"suites": tuple(suites)})
    (told,) = warnings(config.model_copy(update={"evaluate": evaluate}))
    assert "60 questions cannot decide a limit of 5.0 %; about 173 could" in told

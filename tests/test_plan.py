from pathlib import Path

import pytest

from dgr.cli import plan as cli
from dgr.config import RunConfig, load_run_config
from dgr.data import ingest
from dgr.errors import UserError
from dgr.evaluate import step as evaluate_step
from dgr.own import step as own_step
from dgr.plan import PlannedStep, plan, warnings
from dgr.probe import Completions, probe
from dgr.refine import step as refine_step
from dgr.settings import Settings
from dgr.shards import ShardsConfig
from dgr.steps import StepFolder
from tests.fakes import ScriptedEngine, install

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
    assert by_name["evaluate/champion"].completions == by_name["evaluate/base"].completions
    assert not any(step.expected for step in steps)


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


def test_in_other_shards_a_step_runs_again_and_what_reads_it_does_not(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the cache of a run: the merged step is another task with the same bytes."""
    ingest(config.data, out=tmp_path / "ingest", seed=config.seed)
    for name, inputs, cost in (("refine", "ingest", {"shards": 2.0}), ("shift", "refine", {})):
        section: Settings = getattr(config, name)
        read = {inputs: tmp_path / inputs}
        with StepFolder(tmp_path / name, name, section, read, config.seed) as step:
            step.finish({}, {}, cost)

    def cached(shards: int) -> list[str]:
        many = config.model_copy(update={"shards": ShardsConfig(refine=shards)})
        return [name for name, cached in states(plan(many, tmp_path)).items() if cached]

    assert cached(2) == ["ingest", "refine", "shift"]
    assert cached(1) == cached(3) == ["ingest", "shift"]
    args = ["data.limit=20", "shards.evaluate=3", "shards.refine=25"]
    cli.plan(ROOT / "configs" / "nano.yaml", Path("none"), args, False, 0, None)
    told = capsys.readouterr()
    lines = {line.split()[0]: line for line in told.out.splitlines()}
    assert lines["refine"].endswith("in 25 shards")
    assert lines["evaluate/champion"].endswith("in 3 shards")
    assert "in" not in lines["own"].split()
    assert told.err == ("dgr: warning: shards.refine: 25 shards of 20 rows leave 5 without any\n")


def test_a_probe_tells_what_every_sampling_step_takes(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target of nine tokens a trace and six an answer, whatever it is asked."""
    script = lambda request: (" ".join("abcdefgh"), "one two three four five")  # noqa: E731
    engine = ScriptedEngine(script)
    for step in (own_step, refine_step, evaluate_step):
        install(monkeypatch, step, engine)
    needs = probe(config, 3)
    assert {name: len(need) for name, need in needs.items()} == {
        "own": 2, "refine": 2, "evaluate": len(config.evaluate.suites)
    }  # fmt: skip
    assert {need.tokens for need in needs["evaluate"].values()} == {15}
    found = {step.name: step for step in plan(config, tmp_path, needs)}
    for name in ("own", "evaluate/base", "evaluate/champion", "evaluate/dgr"):
        expected = found[name].expected
        assert expected is not None and expected.tokens == 15 * found[name].completions
        assert expected.seconds > 0
    refined = found["refine"].expected
    assert refined is not None and refined.tokens == 20 * (9 + 6)
    assert found["sft/dgr"].expected is None
    assert len(engine.requests) == 3 * (1 + len(config.own.mix) + len(config.evaluate.suites) + 2)


def test_the_table_of_a_probe(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need = Completions(prompt_tokens=10, tokens=100, seconds=36)
    monkeypatch.setattr("dgr.probe.probe", lambda config, count: {"refine": {"trace": need}})
    cli.plan(ROOT / "configs" / "nano.yaml", Path("none"), ["data.limit=20"], False, 2, 3.0)
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["refine", "200", "2,000", "0.20", "0.60"] in told
    with pytest.raises(UserError, match="add --probe"):
        cli.plan(ROOT / "configs" / "nano.yaml", Path("none"), None, False, 0, 3.0)


def test_too_few_questions_for_the_policy_are_told(config: RunConfig) -> None:
    assert warnings(config) == []
    suites = [
        suite.model_copy(update={"limit": 60}) if suite.name == "harmful" else suite
        for suite in config.evaluate.suites
    ]
    evaluate = config.evaluate.model_copy(update={"suites": tuple(suites)})
    (told,) = warnings(config.model_copy(update={"evaluate": evaluate}))
    assert "60 questions cannot decide a limit of 5.0 %; about 173 could" in told

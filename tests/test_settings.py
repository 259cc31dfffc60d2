from pathlib import Path

import pytest

from dgr.config import RunConfig, load_run_config
from dgr.errors import UserError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_are_valid_and_name_files_that_are_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = load_run_config(path)
    named = [config.data.source, *(mix.path for mix in config.own.mix)]
    named += [suite.path for suite in config.evaluate.suites]
    elsewhere = ("s3://", "hub:", "github:")
    assert all(name.startswith(elsewhere) or Path(name).is_file() for name in named)


def test_override_reaches_the_section_and_is_validated() -> None:
    path = ROOT / "configs" / "nano.yaml"
    assert load_run_config(path, ["sft.epochs=7", "name=other"]).sft.epochs == 7
    with pytest.raises(UserError, match=r"sft\.epochs"):
        load_run_config(path, ["sft.epochs=-1"])
    with pytest.raises(UserError, match="no field"):
        load_run_config(path, ["sft.epoch=1"])


def test_an_override_names_an_item_of_a_list_that_has_names() -> None:
    path = ROOT / "configs" / "nano.yaml"
    found = load_run_config(path, ["evaluate.suites.harmful.sampling.max_new_tokens=7"]).evaluate
    former = load_run_config(path).evaluate
    told = [suite.sampling.max_new_tokens for suite in found.suites]
    assert told == [220, 7, 120, 120]
    assert [suite.path for suite in found.suites] == [suite.path for suite in former.suites]
    for override in (
        "evaluate.suites.harmfull.limit=1",
        "evaluate.suites.harmful.limits=1",
        "arms.arms.dgr.x=1",
        "own.mix.harmless.count=1",
    ):
        name = override.partition("=")[0].replace(".", r"\.")
        with pytest.raises(UserError, match=f"the config has no field {name}$"):
            load_run_config(path, [override])


def test_an_evaluation_with_foreign_tasks_is_not_split() -> None:
    path = ROOT / "configs" / "nano.yaml"
    task = "evaluate.tasks=[{name: t, kind: reasoning, task: t.py, score: match}]"
    assert load_run_config(path, [task, "shards.refine=2"]).shards.evaluate == 1
    with pytest.raises(UserError, match=r"shards\.evaluate: the tasks of inspect_ai .* to 1"):
        load_run_config(path, [task, "shards.evaluate=2"])
    with pytest.raises(UserError, match=r"shards\.refine: .* greater than or equal to 1"):
        load_run_config(path, ["shards.refine=0"])


def test_one_engine_needs_adapters_and_one_evaluation() -> None:
    path = ROOT / "configs" / "nano.yaml"
    lora, one = "sft.method=lora", "one_engine=true"
    assert load_run_config(path, [lora, one]).one_engine
    for overrides, why in (
        ([one], "one_engine: arms are evaluated as adapters; set sft.method: lora"),
        ([lora, one, "shards.evaluate=2"], "one_engine: shards.evaluate must be 1"),
        ([lora, one, "engine={kind: vllm}"], "one_engine: set engine.max_adapters to the number"),
    ):
        with pytest.raises(UserError, match=f"with --set: {why}"):
            load_run_config(path, overrides)


def test_every_field_is_documented() -> None:
    """`dgr schema` is the reference: each field of each model has its line."""
    schema = RunConfig.model_json_schema()
    bare = [
        f"{name}.{field}"
        for name, model in {"RunConfig": schema, **schema["$defs"]}.items()
        for field, spec in model.get("properties", {}).items()
        if "description" not in spec and "$ref" not in spec
    ]
    assert not bare, bare

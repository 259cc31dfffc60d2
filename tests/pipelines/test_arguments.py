"""What each step is told: its own section and what it reads, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from dgr.config import RunConfig
from pipelines.arguments import arguments

GENERATING = {"refine", "own", "shift", "base", "evaluate", "drift"}


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> dict[str, Any]:
    (tmp_path / "set.jsonl").write_text('{"question": "q", "trace": "t", "answer": "a"}\n')
    (tmp_path / "suite.jsonl").write_text('{"id": "1", "question": "q", "answer": "2"}\n')
    suite = {"name": "sums", "kind": "reasoning", "scorer": "number"}
    return {
        "name": "small",
        "model": str(tiny_model),
        "data": {"format": "plain", "source": str(tmp_path / "set.jsonl")},
        "arms": {"arms": ["vanilla", "dgr"]},
        "evaluate": {"suites": [suite | {"path": str(tmp_path / "suite.jsonl")}]},
    }


def told(config: dict[str, Any], **sections: Any) -> dict[str, Any]:
    found = arguments(RunConfig.model_validate(config | sections), "/runs/small")
    return {name.removesuffix("_settings"): value for name, value in found.items()}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Steps that are told another thing; `finish` always is, and is never cached."""
    return {name for name in before if before[name] != after[name]} - {"finish"}


def test_a_section_reaches_its_own_step_alone(config: dict[str, Any]) -> None:
    before = told(config)
    assert changed(before, told(config)) == set()
    cases: dict[str, tuple[dict[str, Any], set[str]]] = {
        "refine": ({"candidates": 2}, {"refine"}),
        "own": ({"attempts": 2}, {"own"}),
        "sft": ({"epochs": 2}, {"sft"}),
        "shift": ({"max_rows": 3}, {"shift", "drift"}),
        "gate": ({"min_items": 3}, {"gate"}),
        "registry": ({"name": "other"}, {"champion", "record", "register"}),
        "engine": ({"batch_size": 3}, GENERATING),
        "cluster": ({"queue": "gpu"}, set()),
        "shards": ({"refine": 3, "evaluate": 2}, set()),
    }
    for section, (value, steps) in cases.items():
        assert changed(before, told(config, **{section: value})) == steps, section


def test_nodes_for_training_are_told_to_it_alone_and_only_among_pods(
    config: dict[str, Any],
) -> None:
    cluster = {"images": {"train": "dgr-train:1"}, "training": {"store": "s3://b/train", "gpus": 8}}
    before, after = told(config), told(config, cluster=cluster)
    assert changed(before, after) == set()
    nodes = RunConfig.model_validate(config | {"cluster": cluster})
    pods = arguments(nodes, "s3://runs/small")
    told_of = {name for name, value in pods.items() if "train_job" in value}
    assert told_of == {"sft_settings"}
    job = json.loads(pods["sft_settings"])["options"]["train_job"]
    assert (job["gpus"], job["image"]) == (8, "dgr-train:1")


def test_another_seed_reaches_all(config: dict[str, Any]) -> None:
    before = told(config)
    assert changed(before, told(config, seed=1)) == set(before) - {"arms", "finish"}


def test_another_arm_leaves_the_others_as_they_are(config: dict[str, Any]) -> None:
    before = told(config)
    after = told(config, arms={"arms": ["vanilla", "dgr", "dgr-drop"]})
    assert changed(before, after) == {"arms"}


def test_contents_of_files_count_not_their_names(config: dict[str, Any], tmp_path: Path) -> None:
    before = told(config)
    (tmp_path / "set.jsonl").write_text('{"question": "other"}\n')
    assert changed(before, told(config)) == {"ingest"}
    (tmp_path / "suite.jsonl").write_text("")
    assert changed(before, told(config)) == {"ingest", "base", "evaluate"}


def test_the_models_that_judge_count_by_their_content(
    config: dict[str, Any], tmp_path: Path
) -> None:
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "config.json").write_text("{}")
    judges = [{"name": "llama-guard", "model": str(guard)}]
    suite = {"name": "harm", "kind": "harmful", "path": str(tmp_path / "suite.jsonl")}
    suites = [*config["evaluate"]["suites"], suite | {"judges": ["refusal", "llama-guard"]}]
    with_judge = {"evaluate": {"suites": suites, "judges": judges}}
    before = told(config, **with_judge)
    assert changed(before, told(config, **with_judge)) == set()
    (guard / "config.json").write_text('{"other": 1}')
    assert changed(before, told(config, **with_judge)) == {"base", "evaluate"}


def test_refinement_is_left_out_where_no_arm_needs_it(config: dict[str, Any]) -> None:
    without = told(config, arms={"arms": ["vanilla"]}, candidate="vanilla")
    assert json.loads(without["refine"])["wanted"] is False
    assert json.loads(told(config)["refine"])["wanted"] is True

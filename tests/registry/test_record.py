"""Runs in MLflow's embedded store."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from dgr.errors import UserError
from dgr.files import read_json, write_json
from dgr.registry import RegistryConfig, record
from dgr.registry.tracking import client, embedded_file
from dgr.steps import manifest_digest
from tests.registry.conftest import decide

CONFIG = RegistryConfig()
CHILDREN = ["ingest", "shift", "sft/dgr", "sft/vanilla",
            "evaluate/base", "evaluate/dgr", "evaluate/vanilla", "gate"]  # fmt: skip


def recorded(run: Path, name: str = "record") -> str:
    """Records the run; its id in MLflow."""
    out = run / name
    record(CONFIG, run=run, decision=run / "gate", home=run.parent, out=out, seed=0)
    return str(read_json(out / "summary.json")["run_id"])


def tracker(run: Path) -> Any:
    return client(f"sqlite:///{embedded_file(run.parent)}")


def all_runs(run: Path) -> list[Any]:
    mlflow = tracker(run)
    experiment = mlflow.get_experiment_by_name("dgr").experiment_id
    return list(mlflow.search_runs([experiment]))


def test_a_run_is_recorded_with_one_nested_run_a_step(run: Path) -> None:
    write_json(run / "run.json", {"config": {"seed": 3, "engine": {"batch_size": 8}}})
    (run / "report.html").write_text("<html>")
    run_id = recorded(run)
    mlflow = tracker(run)
    parent = mlflow.get_run(run_id)
    assert parent.info.run_name == "small"
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["dgr.verdict"] == "passed"
    assert parent.data.tags["dgr.decision"] == manifest_digest(run / "gate")
    assert parent.data.params == {"seed": "3", "engine.batch_size": "8"}
    assert parent.data.metrics["reasoning_accuracy"] == 1.0
    assert parent.data.metrics["vanilla.reasoning_accuracy"] == 0.5
    assert parent.data.metrics["vanilla.reasoning_accuracy.n"] == 60
    names = {found.dataset.name for found in parent.inputs.dataset_inputs}
    assert names == {"set", "maths", "harmful-set", "harmless-set"}
    files = {file.path for file in mlflow.list_artifacts(run_id)}
    assert files == {"decision.json", "run.json", "report.html"}

    children = {child.info.run_name: child for child in all_runs(run)}
    assert sorted(children) == sorted([*CHILDREN, "small"])
    sft = children["sft/dgr"]
    assert sft.data.tags["mlflow.parentRunId"] == run_id
    assert sft.data.tags["dgr.digest"] == manifest_digest(run / "sft" / "dgr")
    assert sft.data.params["learning_rate"] == "1e-05"
    curve = mlflow.get_metric_history(sft.info.run_id, "train.loss")
    assert [point.step for point in curve] == [1, 2, 3]
    base = children["evaluate/base"]
    assert base.data.metrics["metrics.harmful_compliance"] == 1.0
    assert base.data.metrics["metrics.harmful_compliance.low"] > 0.9
    names = {file.path for file in mlflow.list_artifacts(base.info.run_id)}
    assert names == {"manifest.json", "summary.json", "timing.json"}


def test_recording_again_makes_no_second_run(run: Path) -> None:
    first = recorded(run)
    count = len(all_runs(run))
    assert recorded(run, "again") == first
    assert len(all_runs(run)) == count


def test_a_changed_step_makes_another_run(run: Path) -> None:
    first = recorded(run)
    decide(run, "vanilla")
    second = recorded(run, "again")
    assert second != first
    verdict = tracker(run).get_run(second).data.tags
    assert verdict["dgr.verdict"] == "rejected"
    assert "Reasoning" in verdict["dgr.reasons"]


def test_what_a_crash_left_half_recorded_is_recorded_whole(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr("dgr.registry.recording._loss_curve", kill)
        with pytest.raises(Killed):
            recorded(run)
    assert any(found.info.status == "RUNNING" for found in all_runs(run))
    run_id = recorded(run)
    runs = all_runs(run)
    assert sorted(found.info.run_name for found in runs) == sorted([*CHILDREN, "small"])
    assert {found.info.status for found in runs} == {"FINISHED"}
    assert tracker(run).get_run(run_id).data.tags["dgr.verdict"] == "passed"


def test_a_run_that_the_platform_opened_is_resumed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = tracker(run)
    given = mlflow.create_run(mlflow.create_experiment("platform"), run_name="theirs")
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    assert recorded(run) == given.info.run_id
    assert recorded(run, "again") == given.info.run_id
    found = mlflow.get_run(given.info.run_id)
    assert found.info.status == "RUNNING"  # whoever opened it ends it
    assert found.data.tags["dgr.verdict"] == "passed"
    children = mlflow.search_runs(
        [given.info.experiment_id], f"tags.`mlflow.parentRunId` = '{given.info.run_id}'"
    )
    assert len(children) == len(CHILDREN)


def test_the_pipelines_run_is_a_tag(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = recorded(run)
    assert "dgr.kfp_run" not in tracker(run).get_run(run_id).data.tags
    monkeypatch.setenv("KFP_RUN_ID", "0f3c")
    assert recorded(run, "again") == run_id
    assert tracker(run).get_run(run_id).data.tags["dgr.kfp_run"] == "0f3c"


@pytest.mark.parametrize("creation", ["create_run", "create_experiment"])
def test_what_was_created_twice_is_there_once(
    run: Path, creation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = getattr(MlflowClient, creation)

    def twice(*arguments: Any, **named: Any) -> Any:
        create(*arguments, **named)
        return create(*arguments, **named)

    monkeypatch.setattr(MlflowClient, creation, twice)
    run_id = recorded(run)
    runs = all_runs(run)
    assert sorted(found.info.run_name for found in runs) == sorted([*CHILDREN, "small"])
    assert {found.info.status for found in runs} == {"FINISHED"}
    assert run_id in {found.info.run_id for found in runs}


def test_a_decision_that_was_changed_is_not_recorded(run: Path) -> None:
    (run / "gate" / "decision.json").write_text("{}")
    with pytest.raises(UserError, match="was changed"):
        recorded(run)


def test_a_remote_run_needs_a_server(run: Path) -> None:
    with pytest.raises(UserError, match=r"registry\.tracking_uri"):
        record(CONFIG, run=run, decision=run / "gate", home=None, out=run / "record", seed=0)


def test_a_password_is_kept_out_of_the_config() -> None:
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_PASSWORD") as told:
        RegistryConfig(tracking_uri="https://me:secret@mlflow.example.org")
    assert "would be written" in str(told.value)
    for uri in ("https://mlflow.example.org:443/a@b", "sqlite:////runs/mlflow.db"):
        assert RegistryConfig(tracking_uri=uri).tracking_uri == uri


def test_a_server_that_cannot_be_reached_is_told(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("dgr.registry.tracking.PATIENCE", 0)
    config = RegistryConfig(tracking_uri="http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9"):
        record(config, run=run, decision=run / "gate", home=None, out=run / "record", seed=0)
    assert not (run / "record" / "manifest.json").exists()

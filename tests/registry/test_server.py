"""The registry in production shape: MLflow's server over PostgreSQL and S3."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dgr.files import read_json
from dgr.registry import RegistryConfig, record
from dgr.registry.tracking import client
from tests.registry.test_record import CHILDREN
from tests.s3 import Server


@pytest.fixture
def config(mlflow_server: str, tmp_path: Path) -> RegistryConfig:
    """Records to the server, in an experiment of this test."""
    return RegistryConfig(tracking_uri=mlflow_server, experiment=tmp_path.name)


def recorded(config: RegistryConfig, run: Path, name: str = "record") -> str:
    record(config, run=run, decision=run / "gate", home=run.parent, out=run / name, seed=0)
    return str(read_json(run / name / "summary.json")["run_id"])


def all_runs(config: RegistryConfig) -> list[Any]:
    tracker = client(str(config.tracking_uri))
    experiment = tracker.get_experiment_by_name(config.experiment).experiment_id
    return list(tracker.search_runs([experiment]))


def test_a_run_is_recorded_once(config: RegistryConfig, run: Path) -> None:
    run_id = recorded(config, run)
    assert recorded(config, run, "again") == run_id
    runs = all_runs(config)
    assert sorted(found.info.run_name for found in runs) == sorted([*CHILDREN, "small"])
    assert {found.info.status for found in runs} == {"FINISHED"}


def test_clients_need_no_credentials_for_artifacts(
    config: RegistryConfig,
    run: Path,
    s3_server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    run_id = recorded(config, run)
    tracker = client(str(config.tracking_uri))
    assert tracker.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:/")
    fetched = Path(tracker.download_artifacts(run_id, "decision.json", str(run)))
    assert fetched.read_bytes() == (run / "gate" / "decision.json").read_bytes()


def test_a_host_that_is_not_allowed_is_refused(mlflow_server: str) -> None:
    request = urllib.request.Request(
        f"{mlflow_server}/api/2.0/mlflow/experiments/get?experiment_id=0",
        headers={"Host": "mlflow.example.org"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403

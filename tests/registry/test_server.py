"""The registry in production shape: MLflow's server over PostgreSQL and S3."""

import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from dgr.files import read_json
from dgr.registry import RegistryConfig, record, recording
from dgr.registry.tracking import client
from tests.faults import Faults, Proxy
from tests.registry.test_record import CHILDREN
from tests.servers import Postgres, documented


@pytest.fixture
def config(mlflow_server: str, tmp_path: Path) -> RegistryConfig:
    """Records to the server, in an experiment of this test."""
    return RegistryConfig(tracking_uri=mlflow_server, experiment=tmp_path.name)


def ailing(share: float) -> Faults:
    """This share of the requests refused, as many cut off before and as many after their work."""
    return Faults(errors=share, resets=share, lost=share, seed=2)


def recorded(config: RegistryConfig, run: Path, name: str = "record") -> str:
    record(config, run=run, decision=run / "gate", home=run.parent, out=run / name, seed=0)
    return str(read_json(run / name / "summary.json")["run_id"])


def bare_run(config: RegistryConfig) -> tuple[Any, str]:
    """A client, and a run with one figure."""
    tracker = client(str(config.tracking_uri))
    run = tracker.create_run(tracker.create_experiment(config.experiment))
    tracker.log_metric(run.info.run_id, "figure", 0.5)
    return tracker, str(run.info.run_id)


def all_runs(config: RegistryConfig) -> list[Any]:
    tracker = client(str(config.tracking_uri))
    experiment = tracker.get_experiment_by_name(config.experiment).experiment_id
    return list(tracker.search_runs([experiment]))


def check_recorded_once(config: RegistryConfig, run_id: str) -> None:
    """Exactly one run with exactly one nested run a step, each whole and nothing twice."""
    tracker = client(str(config.tracking_uri))
    runs = {found.info.run_name: found for found in all_runs(config)}
    names = Counter(found.info.run_name for found in all_runs(config))
    assert names == Counter([*CHILDREN, "small"])
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    assert runs["small"].info.run_id == run_id
    assert runs["small"].data.tags["dgr.verdict"] == "passed"
    assert len(runs["small"].inputs.dataset_inputs) == 4
    files = {file.path for file in tracker.list_artifacts(run_id)}
    assert files == {"decision.json"}
    sft = runs["sft/dgr"]
    assert len(tracker.get_metric_history(sft.info.run_id, "train.loss")) == 3
    assert sft.data.params["learning_rate"] == "1e-05"


def test_a_run_is_recorded_once(config: RegistryConfig, run: Path) -> None:
    run_id = recorded(config, run)
    assert recorded(config, run, "again") == run_id
    check_recorded_once(config, run_id)


@pytest.mark.parametrize("share", [0.02, 0.08])
def test_an_ailing_server_gets_one_whole_run(
    config: RegistryConfig, run: Path, share: float
) -> None:
    with Proxy(str(config.tracking_uri), ailing(share), own_host=True) as proxy:
        run_id = recorded(config.model_copy(update={"tracking_uri": proxy.url}), run)
    assert {0, 503} <= {request.status for request in proxy.requests}
    check_recorded_once(config, run_id)


def test_the_database_may_restart_in_the_middle(
    config: RegistryConfig,
    run: Path,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # our own patience alone
    log_step, done = recording._log_step, []
    restart = threading.Thread(target=postgres.restart_database, kwargs={"pause": 4.0})

    def restarting(*arguments: Any) -> None:
        log_step(*arguments)
        done.append(arguments)
        if len(done) == 3:
            restart.start()

    monkeypatch.setattr(recording, "_log_step", restarting)
    run_id = recorded(config, run)
    restart.join()
    assert "trying again" in capsys.readouterr().err
    check_recorded_once(config, run_id)


def test_clients_need_no_credentials_for_artifacts(
    config: RegistryConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    tracker, run_id = bare_run(config)
    assert tracker.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:/")
    (tmp_path / "decision.json").write_text("{}")
    tracker.log_artifact(run_id, str(tmp_path / "decision.json"))
    (tmp_path / "fetched").mkdir()
    fetched = tracker.download_artifacts(run_id, "decision.json", str(tmp_path / "fetched"))
    assert Path(fetched).read_text() == "{}"


def status(url: str, method: str = "GET", **headers: str) -> int:
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_allowed_hosts_and_origins_are_answered(mlflow_server: str) -> None:
    api = f"{mlflow_server}/api/2.0/mlflow"
    experiment = f"{api}/experiments/get?experiment_id=0"
    assert status(experiment) == 200
    assert status(experiment, Host="mlflow.example.org") == 403
    assert status(f"{mlflow_server}/health", Host="mlflow.example.org") == 200
    delete = f"{api}/runs/delete"
    assert status(delete, "POST", Origin="https://elsewhere.example.org") == 403
    assert status(delete, "POST", Origin=mlflow_server) == 400  # let through; no run is named


def test_a_bundle_in_a_local_folder_is_refused(config: RegistryConfig, tmp_path: Path) -> None:
    tracker, run_id = bare_run(config)
    tracker.create_registered_model(tmp_path.name)
    with pytest.raises(MlflowException, match="Invalid model version source"):
        tracker.create_model_version(tmp_path.name, source=tmp_path.as_uri(), run_id=run_id)
    bucket = "s3://bucket/models/small/abc"
    made = tracker.create_model_version(tmp_path.name, source=bucket, run_id=run_id)
    assert made.source == bucket


def test_a_backup_holds_the_runs(
    config: RegistryConfig, postgres: Postgres, tmp_path: Path
) -> None:
    tracker, run_id = bare_run(config)
    for step in ("backup", "restore"):
        done = subprocess.run(
            ["bash", "-e", "-c", documented(step)],
            cwd=tmp_path, env=postgres.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    restored = client(postgres.uri.removesuffix("/mlflow") + "/restored").get_run(run_id)
    assert restored.data.metrics == {"figure": 0.5}
    assert restored.to_dictionary() == tracker.get_run(run_id).to_dictionary()

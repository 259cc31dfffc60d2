"""The registry in production shape: MLflow's server over PostgreSQL and S3."""

import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dgr.files import read_json
from dgr.registry import RegistryConfig, record, recording
from dgr.registry.tracking import client
from tests.registry.test_record import CHILDREN
from tests.s3 import Server
from tests.servers import Flaky, Postgres, flaky_proxy


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


@pytest.mark.parametrize("every", [20, 4])
def test_an_ailing_server_gets_one_whole_run(config: RegistryConfig, run: Path, every: int) -> None:
    with flaky_proxy(str(config.tracking_uri), every) as (url, flaky):
        run_id = recorded(config.model_copy(update={"tracking_uri": url}), run)
    assert set(flaky.spoiled) == set(Flaky.FAULTS)
    check_recorded_once(config, run_id)


def test_the_database_may_restart_in_the_middle(
    config: RegistryConfig,
    run: Path,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
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

"""The whole way of a model on PostgreSQL, MLflow's server and S3: in a crowd and in trouble."""

import os
import threading
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.registry import Registry, RegistryConfig, approve, promote, reconcile, rollback
from tests.faults import Faults, Proxy
from tests.registry.candidates import candidate, opened
from tests.registry.test_journal import check_crowd
from tests.registry.test_moving import aliases, digest_of
from tests.s3 import moto, moto_server
from tests.servers import Postgres

__all__ = ["moto", "moto_server"]


@pytest.fixture(params=["s3", "moto"])
def config(mlflow_server: str, request: pytest.FixtureRequest, tmp_path: Path) -> RegistryConfig:
    """A model of this test on the server; bundles at rclone's S3, or at moto's, which honours
    conditions."""
    name = tmp_path.name.replace("[", "-").replace("]", "")[-60:]
    store = f"{request.getfixturevalue(request.param)}/{name}"
    return RegistryConfig(
        name=f"m-{name}"[-63:], experiment=name, store=store, tracking_uri=mlflow_server
    )


@pytest.fixture(autouse=True)
def one_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here has two writers of one file, so none has to wait for a rival."""
    monkeypatch.setattr("dgr.storage.s3.SETTLE_SECONDS", 0.01)


def champion_and_approved(run: Path, config: RegistryConfig) -> Registry:
    """Champion 1, and version 2 approved."""
    candidate(run, "one", config)
    registry = opened(run, config)
    approve(registry, "1", reason="ok")
    promote(registry, "1")
    candidate(run, "two", config, champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    return registry


def test_the_whole_way(config: RegistryConfig, run: Path) -> None:
    registry = champion_and_approved(run, config)
    promote(registry, "2")
    assert aliases(registry) == {"champion": "2", "previous": "1"}
    rollback(registry, reason="bad")
    assert aliases(registry) == {"champion": "1"}
    assert reconcile(registry, deep=True) == []
    found = registry.tracker.get_model_version(config.name, "1")
    assert found.source == registry.source(digest_of(registry, "1"))
    assert found.source.startswith("s3://bucket/")


@pytest.mark.parametrize("config", ["moto"], indirect=True)
def test_a_flipped_bit_in_the_bucket_is_found(
    config: RegistryConfig, run: Path, tmp_path: Path
) -> None:
    registry = champion_and_approved(run, config)
    key = f"models/{config.name}/{digest_of(registry, '2')}/model.safetensors"
    data = bytearray(registry.store.read_bytes(key))
    data[1] ^= 4
    (tmp_path / "flipped").write_bytes(data)
    registry.store.put_file(tmp_path / "flipped", key)
    with pytest.raises(UserError, match=r"model\.safetensors was changed"):
        promote(registry, "2")
    assert aliases(registry)["champion"] == "1"


@pytest.mark.parametrize("config", ["s3"], indirect=True)
def test_fifty_promotions_at_once_make_one_champion(config: RegistryConfig, run: Path) -> None:
    check_crowd(run, config)


AILING = Faults(errors=0.03, resets=0.03, lost=0.03, stalls=0.02, stall_seconds=2, seed=4)


@pytest.mark.parametrize("config", ["s3"], indirect=True)
def test_an_ailing_registry_and_store_end_as_healthy_ones(
    config: RegistryConfig, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of all requests goes wrong, on the way to MLflow and on the way to S3."""
    healthy = os.environ["AWS_ENDPOINT_URL"]
    before_mlflow = Proxy(str(config.tracking_uri), AILING, own_host=True)
    with before_mlflow as mlflow, Proxy(healthy, AILING) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        ill = config.model_copy(update={"tracking_uri": mlflow.url})
        registry = champion_and_approved(run, ill)
        promote(registry, "2")
        rollback(registry, reason="bad")
        for proxy in (mlflow, s3):
            assert {0, 503} <= {request.status for request in proxy.requests}
    monkeypatch.setenv("AWS_ENDPOINT_URL", healthy)
    registry = opened(run, config)
    kinds = [move.kind.value for move in registry.history().moves]
    assert kinds == ["registered", "approved", "promoted", "registered", "approved", "promoted",
                     "rolled-back"]  # fmt: skip
    assert aliases(registry) == {"champion": "1"}
    assert [finding for finding in reconcile(registry, deep=True) if not finding.mended] == []


@pytest.mark.parametrize("config", ["s3"], indirect=True)
def test_the_database_may_restart_while_a_model_is_promoted(
    config: RegistryConfig, run: Path, postgres: Postgres
) -> None:
    registry = champion_and_approved(run, config)
    restart = threading.Thread(target=postgres.restart_database, kwargs={"pause": 3.0})
    restart.start()
    promote(registry, "2")
    restart.join()
    assert aliases(registry) == {"champion": "2", "previous": "1"}
    assert reconcile(registry) == []


@pytest.mark.parametrize("config", ["s3"], indirect=True)
def test_a_store_or_registry_that_is_down_is_one_sentence_and_again_completes(
    config: RegistryConfig, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dgr.registry.tracking.PATIENCE", 2.0)
    monkeypatch.setattr("dgr.storage.bucket.PATIENCE", 2.0)
    registry = champion_and_approved(run, config)
    with Proxy(os.environ["AWS_ENDPOINT_URL"], Faults(down=True)) as s3:
        healthy = os.environ["AWS_ENDPOINT_URL"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        with pytest.raises(UserError, match="cannot be reached") as told:
            promote(opened(run, config), "2")
        monkeypatch.setenv("AWS_ENDPOINT_URL", healthy)
    assert "\n" not in str(told.value)
    with Proxy(str(config.tracking_uri), Faults(down=True)) as mlflow:
        away = config.model_copy(update={"tracking_uri": mlflow.url})
        with pytest.raises(UserError, match=r"^MLflow at ") as told:
            promote(opened(run, away), "2")
    assert "\n" not in str(told.value)
    assert aliases(registry)["champion"] == "1"
    promote(registry, "2")
    assert aliases(registry)["champion"] == "2"
    assert reconcile(registry) == []

"""What containers are given, where no engine is needed to tell."""

import os
import stat
from pathlib import Path

import pytest

from dgr.config import RunConfig, load_run_config
from dgr.errors import UserError
from pipelines.containers import Containers, containers_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A run of a model whose weights are a link, as in the Hub's cache."""
    blob = tmp_path / "blobs" / "123"
    blob.parent.mkdir()
    blob.touch()
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").symlink_to(blob)
    return load_run_config(
        ROOT / "configs" / "nano.yaml",
        [f"model={model}", f"registry.store={tmp_path / 'store'}",
         "notify.targets=[{url_env: CHAT_URL}]"],
    )  # fmt: skip


@pytest.fixture
def given(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Containers:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Containers, "check", lambda self: None)
    monkeypatch.setenv("CHAT_URL", "https://chat.example/1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    monkeypatch.setenv("NO_BUSINESS_OF_A_STEP", "secret")
    monkeypatch.setenv("DGR_ACTOR", "jo")
    return containers_for(config, tmp_path / "runs", "none")


def test_they_see_what_the_config_names(given: Containers, tmp_path: Path) -> None:
    mounts = {mount["Source"]: mount for mount in given.arguments["mounts"]}
    assert all(mount["Target"] == source for source, mount in mounts.items())
    written = {source for source, mount in mounts.items() if not mount["ReadOnly"]}
    assert written == {str(tmp_path / "runs"), str(tmp_path / "store")}
    read = {Path(source) for source in mounts.keys() - written}
    assert {tmp_path / "model", tmp_path / "blobs" / "123"} < read
    assert ROOT / "models" / "nano-lrm" / "data" / "nano-r1-act.jsonl" in read
    assert ROOT not in read


def test_they_get_what_steps_need_of_the_environment(given: Containers) -> None:
    assert given.environment["CHAT_URL"] == "https://chat.example/1"
    assert given.environment["MLFLOW_TRACKING_URI"] == "http://mlflow.example"
    assert given.environment["DGR_ACTOR"] == "jo"
    assert "NO_BUSINESS_OF_A_STEP" not in given.environment


def test_a_fetched_model_is_found_in_its_cache(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "check", lambda self: None)
    monkeypatch.setenv("DGR_CACHE", str(tmp_path / "fetched"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    remote = config.model_copy(update={"model": "s3://bucket/model"})
    given = containers_for(remote, tmp_path / "runs", "none")
    assert {tmp_path / "fetched", tmp_path / "hub" / "hub"} < given.written
    assert given.environment["HF_HUB_CACHE"] == str(tmp_path / "hub" / "hub")
    assert "HF_HOME" not in given.environment


@pytest.mark.parametrize(("caller", "user"), [(1000, f"1000:{os.getgid()}"), (0, "65532:0")])
def test_they_are_never_root(
    given: Containers, monkeypatch: pytest.MonkeyPatch, caller: int, user: str
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: caller)
    arguments = given.arguments
    assert arguments["user"] == user
    assert arguments["read_only"] and arguments["cap_drop"] == ["ALL"]
    assert arguments["network_mode"] == "none"


def test_roots_group_may_write_what_its_owner_may(
    given: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "runs" / "bundle"
    kept.touch(mode=0o444)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    former = os.umask(0o022)
    try:
        with given.writable():
            made = tmp_path / "runs" / "new"
            made.mkdir()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(former)
    assert made.stat().st_mode & stat.S_IWGRP
    assert (tmp_path / "runs").stat().st_mode & stat.S_IWGRP
    assert not kept.stat().st_mode & stat.S_IWGRP


def test_without_an_engine_it_says_so(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(UserError, match=r"no container engine answers at .*no\.sock; start Docker"):
        containers_for(config, tmp_path / "runs", "none")

"""Webhooks of a real MLflow server on SQLite."""

import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from cryptography.fernet import Fernet

from dgr.errors import UserError
from dgr.notify.webhooks import ensure_webhook
from dgr.registry.tracking import client
from tests.notify.conftest import SECRET, TOKEN, Receiver


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a server that may call this machine."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    environment = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    try:
        until(lambda: server.poll() is not None or answers(f"{uri}/health"))
        assert server.poll() is None, (folder / "log").read_text()
        yield client(uri)
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except (URLError, OSError):
        return False


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_the_server_tells_of_versions_states_and_aliases(tracker: Any, receiver: Receiver) -> None:
    made = ensure_webhook(tracker, "dgr", url_env="HOOK_URL", secret_env="HOOK_SECRET")
    tracker.create_registered_model("safe")
    tracker.create_model_version("safe", source="s3://bucket/models/safe")
    tracker.set_model_version_tag("safe", "1", "dgr.state", "approved")
    tracker.set_registered_model_alias("safe", "champion", "1")
    until(lambda: len(receiver.requests) == 3)
    told = {}
    for request in receiver.requests:
        body = json.loads(request.body)
        told[f"{body['entity']}.{body['action']}"] = body["data"]
        headers = [request.headers[f"x-mlflow-{part}"] for part in ("delivery-id", "timestamp")]
        signed = ".".join(headers).encode() + b"." + request.body
        expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest())
        assert request.headers["x-mlflow-signature"] == f"v1,{expected.decode()}"
    assert told["model_version.created"]["source"] == "s3://bucket/models/safe"
    assert told["model_version_tag.set"]["value"] == "approved"
    assert told["model_version_alias.created"]["alias"] == "champion"
    tracker.delete_webhook(made)


def test_doing_it_again_changes_the_one_that_is_there(
    tracker: Any, receiver: Receiver, other: Receiver
) -> None:
    first = ensure_webhook(tracker, "mine", url_env="HOOK_URL")
    second = ensure_webhook(tracker, "mine", url_env="OTHER_URL", events=["model_version.created"])
    assert first == second
    [found] = [webhook for webhook in tracker.list_webhooks() if webhook.name == "mine"]
    assert found.url == other.url
    tracker.create_registered_model("changed")
    tracker.create_model_version("changed", source="s3://bucket/models/changed")
    tracker.set_model_version_tag("changed", "1", "dgr.state", "approved")
    until(lambda: len(other.requests) == 1)
    assert receiver.requests == []
    tracker.delete_webhook(first)


@pytest.mark.parametrize("url", [f"ftp://127.0.0.1/{TOKEN}", f"http:///{TOKEN}", TOKEN])
def test_what_mlflow_refuses_is_told_without_the_url(
    tracker: Any, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HOOK_URL", url)
    with pytest.raises(UserError, match="did not take the webhook 'dgr' ") as error:
        ensure_webhook(tracker, "dgr", url_env="HOOK_URL")
    assert TOKEN not in str(error.value)
    assert error.value.__suppress_context__
    assert not list(tracker.list_webhooks())


def test_unknown_events_and_unset_variables_are_told(
    tracker: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="known events"):
        ensure_webhook(tracker, "dgr", url_env="HOOK_URL", events=["model_version.eaten"])
    monkeypatch.delenv("HOOK_SECRET")
    with pytest.raises(UserError, match="HOOK_SECRET is not set"):
        ensure_webhook(tracker, "dgr", url_env="HOOK_URL", secret_env="HOOK_SECRET")
    assert not list(tracker.list_webhooks())

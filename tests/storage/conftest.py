"""An empty store of each kind: a folder, rclone's S3 (no conditional writes), moto's (has them)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dgr.storage import Store, open_store
from tests.faults import Proxy
from tests.s3 import moto, moto_server, s3, s3_server

__all__ = ["moto", "moto_server", "s3", "s3_server"]

PART = 5 << 20
"""The least that S3 takes for a part; tests transfer several."""


@pytest.fixture(params=["folder", "rclone", "moto"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(_root(request) + f"/{tmp_path.name}")


@pytest.fixture(params=["rclone", "moto"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in front of an S3 server; the environment names it as the endpoint."""
    _root(request)
    server = request.getfixturevalue("s3_server" if request.param == "rclone" else "moto_server")
    with Proxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def remote(proxy: Proxy, tmp_path: Path) -> Store:
    """The store behind the proxy."""
    return open_store(f"s3://bucket/{tmp_path.name}")


def _root(request: pytest.FixtureRequest) -> str:
    root: str = request.getfixturevalue("s3" if request.param == "rclone" else "moto")
    return root


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgr.storage.parts.PART", PART)
    monkeypatch.setattr("dgr.storage.parts.MEMORY", 6 * PART)

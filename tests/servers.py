"""The production registry on this machine: PostgreSQL, and `mlflow server` over it and S3."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import Server, free_port, s3_server

__all__ = ["mlflow_server", "postgres", "s3_server"]

PAGE = Path(__file__).parents[1] / "docs" / "registry-server.md"
PROGRAMS = Path("/usr/lib/postgresql")
ACCOUNT, DATABASE, PASSWORD = "postgres", "mlflow", "test-password"
START_SECONDS = 120


class Postgres:
    """A PostgreSQL server with a database `mlflow`, on a port of the loopback."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder, self._data = programs, folder, folder / "data"
        self._port = free_port()
        self._as: dict[str, Any] = {}
        self._server: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make the cluster, start it, and make the database."""
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:
            # PostgreSQL refuses to run as root; Debian's package makes an account for it.
            self._as = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": ()}
            for path in (self._folder, password):
                shutil.chown(path, ACCOUNT, ACCOUNT)
        self._run(
            "initdb", "--pgdata", self._data, "--username", DATABASE, "--pwfile", password,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync",
        )  # fmt: skip
        self.start()
        self._run("createdb", DATABASE)

    @property
    def uri(self) -> str:
        """As SQLAlchemy writes it."""
        return f"postgresql+pg8000://{DATABASE}:{PASSWORD}@127.0.0.1:{self._port}/{DATABASE}"

    @property
    def environment(self) -> dict[str, str]:
        """What its programs find it by."""
        return {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self._port),
            "PGUSER": DATABASE,
            "PGPASSWORD": PASSWORD,
        }

    def start(self) -> None:
        command = [self._programs / "postgres", "-D", self._data, "-p", str(self._port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command += ["-c", "fsync=off", "-c", "max_connections=200"]
        self._server = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as
        )
        wait_until(self._ready, self._server, "postgres")

    def stop(self) -> None:
        """Cut every connection and end."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait()
            self._server = None

    def restart_database(self, pause: float = 0.0) -> None:
        """Stop, stay away for `pause` seconds, and start with the same data."""
        self.stop()
        time.sleep(pause)
        self.start()

    def _ready(self) -> bool:
        probe = [self._programs / "pg_isready", "--quiet"]
        return subprocess.run(probe, env=self.environment, check=False).returncode == 0

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            env=self.environment,
            **self._as,
        )


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL that is installed, if we may run it."""
    if os.getuid() == 0 and ACCOUNT not in {entry.pw_name for entry in pwd.getpwall()}:
        return None
    found = shutil.which("pg_ctl")
    folders = sorted(PROGRAMS.glob("*/bin"), key=lambda path: float(path.parent.name))
    return folders[-1] if folders else Path(found).resolve().parent if found else None


@contextmanager
def run_postgres(programs: Path) -> Iterator[Postgres]:
    # Not in pytest's folder: the account of PostgreSQL may not enter it.
    with tempfile.TemporaryDirectory(prefix="dgr-postgres-") as folder:
        server = Postgres(programs, Path(folder))
        try:
            server.create()
            yield server
        finally:
            server.stop()


def documented(name: str) -> str:
    """The commands of docs/registry-server.md below the mark of that name."""
    text = PAGE.read_text()
    return text.partition(f"<!-- {name} -->\n```bash\n")[2].partition("```")[0]


@contextmanager
def run_mlflow(backend: str, store: Server, log: Path) -> Iterator[str]:
    """`mlflow server` as the page starts it; its URL."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    url = f"http://{address}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_BACKEND_STORE_URI": backend,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "BUCKET": store.bucket,
        "ALLOWED_HOSTS": address,
        "ORIGINS": url,
        **store.environment,
    }
    with log.open("wb") as output:
        # Its own process group: the server's workers end with it.
        server = subprocess.Popen(
            ["bash", "-c", documented("serve")],
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    try:
        wait_until(lambda: healthy(url), server, f"mlflow server (see {log})")
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until(ready: Callable[[], bool], server: "subprocess.Popen[bytes]", what: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        if ready():
            return
        time.sleep(0.1)
    raise RuntimeError(f"{what} did not start")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server: `postgres.uri`, `postgres.restart_database()`."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with run_postgres(programs) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server(
    postgres: Postgres, s3_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of `mlflow server` over PostgreSQL and S3; clients need no credentials.

    One server serves all tests of a session: use an experiment and model names of your own.
    """
    log = tmp_path_factory.mktemp("mlflow-server") / "log"
    with run_mlflow(postgres.uri, s3_server, log) as url:
        yield url

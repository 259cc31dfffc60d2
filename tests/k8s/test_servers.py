"""The servers' own commands, as they are rendered, run on this machine."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from k8s.manifests import Object, all_pods
from tests.s3 import free_port
from tests.servers import Postgres, postgres_programs, run_postgres, wait_until

Rendered = dict[str, list[Object]]


def container(objects: list[Object], owner: str) -> Object:
    return next(pod for pod in all_pods(objects) if pod.owner == owner).containers[0]


def status(port: int, path: str, host: str, seconds: int = 30) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def is_ready(port: int, probe: Object) -> bool:
    """Whether the kubelet would call it ready."""
    get = probe["httpGet"]
    (host,) = [each["value"] for each in get["httpHeaders"] if each["name"] == "Host"]
    return 200 <= status(port, get["path"], host, probe["timeoutSeconds"]) < 400


@pytest.fixture(scope="module")
def mlflow(rendered: Rendered) -> Object:
    return container(rendered["local-kind"], "Deployment/mlflow")


@contextmanager
def served(
    mlflow: Object, rendered: list[Object], folder: Path, backend: str, **changes: str
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The container's command with its ConfigMap's values, on a port of our own."""
    config = next(
        value["data"]
        for value in rendered
        if value["kind"] == "ConfigMap" and value["metadata"]["name"].startswith("mlflow")
    )
    values = {**config, **changes}
    port = free_port()
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], argument)
        for argument in [*mlflow["command"], *mlflow["args"]]
    ]
    arguments = [argument.replace("--port=5000", f"--port={port}") for argument in arguments]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "MLFLOW_BACKEND_STORE_URI": backend,
        **{each["name"]: each["value"] for each in mlflow["env"]},
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            arguments, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield server, port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_mlflow_is_ready_exactly_when_its_clients_are_served(
    rendered: Rendered, mlflow: Object, tmp_path: Path
) -> None:
    """On a PostgreSQL of its own, which goes away."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    objects = rendered["local-kind"]
    with (
        run_postgres(programs) as database,
        served(mlflow, objects, tmp_path, database.uri) as (server, port),
    ):
        wait_until(lambda: is_ready(port, mlflow["startupProbe"]), server, "mlflow server")
        assert is_ready(port, mlflow["readinessProbe"])
        assert is_ready(port, mlflow["livenessProbe"])
        path = mlflow["readinessProbe"]["httpGet"]["path"]
        platform = next(
            value["data"] for value in objects if value["metadata"]["name"] == "dgr-platform"
        )
        # The name that our pods use, and the one of a port-forward.
        assert status(port, path, platform["MLFLOW_TRACKING_URI"].removeprefix("http://")) == 200
        assert status(port, path, "localhost:5000") == 200
        assert status(port, path, "mlflow.elsewhere.svc:5000") == 403
        # Without its database no client is served: not ready, and yet not restarted.
        database.stop()
        assert not is_ready(port, mlflow["readinessProbe"])
        assert is_ready(port, mlflow["livenessProbe"])


def test_mlflow_under_other_names_is_not_ready(
    rendered: Rendered, mlflow: Object, tmp_path: Path
) -> None:
    """The mistake that a probe of /health alone does not see."""
    with served(
        mlflow,
        rendered["local-kind"],
        tmp_path,
        f"sqlite:///{tmp_path}/mlflow.db",
        ALLOWED_HOSTS="mlflow.example.org",
    ) as (server, port):
        wait_until(lambda: is_ready(port, mlflow["livenessProbe"]), server, "mlflow server")
        assert not is_ready(port, mlflow["readinessProbe"])


# The tables as they were one change of MLflow's schema ago; prints that revision and the newest.
OLDER = """
import sys
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

Base.metadata.create_all(create_engine(sys.argv[1]))
config = _get_alembic_config(sys.argv[1])
scripts = ScriptDirectory.from_config(config)
newest = scripts.get_current_head()
before = scripts.get_revision(newest).down_revision
command.upgrade(config, before)
print(before, newest)
"""


def test_tables_of_an_older_mlflow_are_brought_up(rendered: Rendered, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{database}",
    }

    def revision() -> str:
        with closing(sqlite3.connect(database)) as tables:
            return str(tables.execute("SELECT version_num FROM alembic_version").fetchone()[0])

    made = subprocess.run(
        [sys.executable, "-c", OLDER, environment["MLFLOW_BACKEND_STORE_URI"]],
        check=True, env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    before, newest = made.stdout.split()
    assert revision() == before != newest
    command = container(rendered["gpu"], "CronJob/mlflow-upgrade")["command"]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    assert revision() == newest


def script(rendered: Rendered, job: str, dumps: Path) -> str:
    """The command of a CronJob, with a folder for its disks."""
    command = container(rendered["airgapped"], f"CronJob/{job}")["command"]
    assert command[:2] == ["bash", "-ec"]
    return str(command[2]).replace("/dumps", str(dumps)).replace("/tmp/contents", "/dev/null")


def run(script: str, environment: dict[str, str], **more: str) -> int:
    return subprocess.run(["bash", "-ec", script], env=environment | more, check=False).returncode


def old_dumps(folder: Path) -> None:
    for day in range(1, 17):
        (folder / f"mlflow-202601{day:02d}T013000Z.dump").write_text("old")


def test_a_dump_is_whole_and_old_ones_go(
    postgres: Postgres, rendered: Rendered, tmp_path: Path
) -> None:
    old_dumps(tmp_path)
    (tmp_path / "mlflow-20260117T013000Z.part").write_text("cut off")
    assert run(script(rendered, "postgres-dump", tmp_path), postgres.environment) == 0
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 14 and all(name.endswith(".dump") for name in left)
    assert left[0] == "mlflow-20260104T013000Z.dump"
    listed = sql(postgres, "pg_restore", "--list", str(tmp_path / left[-1]))
    assert "dbname: mlflow" in listed


def test_a_failed_dump_removes_nothing(
    postgres: Postgres, rendered: Rendered, tmp_path: Path
) -> None:
    old_dumps(tmp_path)
    assert run(script(rendered, "postgres-dump", tmp_path), postgres.environment, PGPORT="1") != 0
    assert len(list(tmp_path.glob("*.dump"))) == 16


def sql(server: Postgres, *command: str) -> str:
    answer = subprocess.run(
        command, env=server.environment, check=True, capture_output=True, text=True
    )
    return answer.stdout


def test_a_dump_takes_the_place_of_the_database(rendered: Rendered, tmp_path: Path) -> None:
    """On a server of its own: the others' database must keep its name."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    dump = script(rendered, "postgres-dump", tmp_path)
    restore = script(rendered, "postgres-restore", tmp_path)
    with run_postgres(programs) as server:
        sql(server, "psql", "mlflow", "-c", "CREATE TABLE runs AS SELECT 1 AS id")
        assert run(dump, server.environment) == 0
        sql(server, "psql", "mlflow", "-c", "UPDATE runs SET id = 2")
        assert run(restore, server.environment, DUMP="none.dump") != 0
        assert sql(server, "psql", "mlflow", "-Atc", "SELECT id FROM runs") == "2\n"
        assert run(restore, server.environment) == 0
        assert sql(server, "psql", "mlflow", "-Atc", "SELECT id FROM runs") == "1\n"
        names = sql(server, "psql", "mlflow", "-Atc", "SELECT datname FROM pg_database")
        (before,) = [name for name in names.split() if name.startswith("mlflow_before_")]
        assert sql(server, "psql", before, "-Atc", "SELECT id FROM runs") == "2\n"


# A `weed shell` that keeps its buckets in a file, and is not yet there when it is first asked.
WEED = """\
#!/bin/sh
read -r line
[ -e asked ] || { : > asked; echo "connection refused" >&2; exit 1; }
case "$line" in
  s3.bucket.list) sed 's/^/  /; s/$/ size:0 chunk:0/' buckets ;;
  "s3.bucket.create -name "*) echo "${line##* }" >> buckets ;;
esac
"""


def test_the_store_makes_the_buckets_that_are_missing(rendered: Rendered, tmp_path: Path) -> None:
    hook = container(rendered["airgapped"], "StatefulSet/seaweedfs")["lifecycle"]["postStart"]
    command = hook["exec"]["command"]
    (tmp_path / "weed").write_text(WEED)
    (tmp_path / "weed").chmod(0o755)
    (tmp_path / "buckets").write_text("models\n")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    made = (tmp_path / "buckets").read_text().split()
    assert sorted(made) == ["data", "mlflow", "models", "pipelines", "runs"]

"""Registries as released versions wrote them: every later version reads them.

    python -m tests.registry.released        # at a release: adds the one of this version

Each is a folder of runs with the embedded store: one champion, one approved version, in a tar file.
"""

import io
import sqlite3
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = "/released"
"""Stands for the folder of runs in what the database holds of paths."""


def pack(runs: Path, version: str) -> Path:
    """Keep database and store of a folder of runs."""
    target = HERE / f"{version}.tar.xz"
    database = runs / "mlflow.db"
    moved(database, str(runs), ROOT)
    with tarfile.open(target, "w:xz") as archive:
        for path in [database, *sorted((runs / "store").rglob("*"))]:
            entry = tarfile.TarInfo(path.relative_to(runs).as_posix())
            if path.is_file():
                data = path.read_bytes()
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return target


def unpack(archive: Path, runs: Path) -> None:
    """Lay a kept registry out in an empty folder of runs."""
    with tarfile.open(archive) as packed:
        packed.extractall(runs, filter="data")
    moved(runs / "mlflow.db", ROOT, str(runs))


def moved(path: Path, old: str, new: str) -> None:
    """Name another folder wherever the database names the old one."""
    with sqlite3.connect(path) as database:
        for table, column in (
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ):
            database.execute(f"update {table} set {column} = replace({column}, ?, ?)", [old, new])
    database.execute("vacuum")
    database.close()

"""The one shape of a step: a folder with records, a summary, and a manifest written last.

    with StepFolder(out, "refine", config, inputs={"data": data}, seed=seed) as step:
        if step.finished:
            return
        journal = step.journal("attempts.jsonl", Attempt, key=lambda attempt: attempt.key)
        ...                                     # journal.add(row): soon on disk, resumable
        step.finish(summary, records={"records.jsonl": rows})

A folder without a manifest is not a result. What an interrupted step had done lies in a work
folder named by the step's fingerprint (step, config, digests of the inputs, code, seed), so a
restart with the same fingerprint goes on and one with another starts afresh.
"""

import fcntl
import gc
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from dgr import __version__
from dgr.errors import UserError
from dgr.files import (
    TEMPORARY,
    canonical_json,
    read_json,
    sha256_file,
    sha256_folder,
    sha256_text,
    unwritable,
    write_json,
    write_records,
)
from dgr.journal import Journal, Ledger
from dgr.settings import Settings
from dgr.shards import Shard

MANIFEST = "manifest.json"
SUMMARY = "summary.json"
TIMING = "timing.json"
SHARD = "shard"
"""Key of the manifest of a step that did a part of the rows: `2/4`."""
SHARDS = "shards"
"""Key of the timing of a step that was done in parts: how many they were."""
WORK_ENV = "DGR_WORK"
"""Environment variable that names a folder for unfinished work which outlives one attempt."""

PACKAGES = ("torch", "transformers", "trl", "peft", "kfp", "mlflow", "numpy", "scipy")
"""Packages whose version a run's record names."""

NEW_OBJECTS = 50_000
"""Objects after which Python looks for cycles among them. A step makes records by the million and
no cycles: with Python's own 700, it looks at them all again and again."""

RowT = TypeVar("RowT")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of the library's own source: a step is cached for the code that made it."""
    root = Path(__file__).parent
    sources = {
        path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(root.rglob("*.py"))
    }
    return sha256_text(canonical_json(sources))


def input_digest(path: Path) -> str:
    """Digest of a step's input: of its manifest when a step made it, else of its content."""
    if (path / MANIFEST).is_file():
        return manifest_digest(path)
    if path.is_dir():
        return sha256_folder(path)
    if path.is_file():
        return sha256_file(path)
    raise UserError(f"{path} does not exist")


def manifest_digest(folder: Path) -> str:
    """The digest that stands for a finished step folder."""
    return sha256_text(canonical_json(read_json(folder / MANIFEST)))


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of a finished step against its manifest; the manifest is returned."""
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} holds no {MANIFEST}: the step that writes it has not finished; run it again"
        )
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing although {MANIFEST} lists it; run the step again")
        if sha256_file(path) != digest:
            raise UserError(f"{path} was changed after it was written; run the step again")
    return manifest


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary of a finished step."""
    if not (folder / MANIFEST).is_file():
        verify(folder)
    summary: dict[str, Any] = read_json(folder / SUMMARY)
    return summary


class StepFolder:
    """The output folder of one step, from the first record to the manifest."""

    def __init__(
        self,
        out: Path,
        step: str,
        config: BaseModel,
        inputs: Mapping[str, Path],
        seed: int,
        engine: Settings | None = None,
        shard: Shard | None = None,
    ) -> None:
        identity = {
            "step": step,
            "config": config.model_dump(mode="json"),
            "engine": engine.identity() if engine else None,
            "inputs": {name: input_digest(path) for name, path in sorted(inputs.items())},
            "version": __version__,
            "code": code_digest(),
            "seed": seed,
        }
        self._begin(out, identity | ({SHARD: str(shard)} if shard else {}))

    @classmethod
    def of(cls, out: Path, identity: Mapping[str, Any]) -> Self:
        """The folder of a step whose identity is known: that of a merge is its parts'."""
        folder = cls.__new__(cls)
        folder._begin(out, identity)
        return folder

    def _begin(self, out: Path, identity: Mapping[str, Any]) -> None:
        self.out, self.step = out, str(identity["step"])
        self.identity = dict(identity)
        self.fingerprint = sha256_text(canonical_json(self.identity))[:20]
        root = os.environ.get(WORK_ENV)
        # Of two models that are evaluated together, one may equal the other: hence `out.name`.
        name = f"{self.step}-{out.name}-{self.fingerprint}"
        self.work = (Path(root) if root else out / ".work") / name
        self._started = time.time()
        self._open: list[Journal[Any] | Ledger[Any]] = []
        self._lock: int | None = None

    @property
    def finished(self) -> bool:
        """Whether the folder already holds this very step, whole and unchanged."""
        try:
            manifest = verify(self.out)
        except UserError:
            return False
        return {name: manifest.get(name) for name in (*self.identity, SHARD)} == {
            SHARD: None
        } | self.identity

    def __enter__(self) -> "StepFolder":
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out} is a file; choose a folder for the step's output")
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.work / ".lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise unwritable(self.out, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is running this very step ({self.step}) in {self.work}; "
                "wait for it or stop it"
            ) from None
        self._thresholds = gc.get_threshold()
        gc.set_threshold(NEW_OBJECTS, *self._thresholds[1:])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        gc.set_threshold(*self._thresholds)
        for file in self._open:
            file.close()
        if self._lock is not None:
            os.close(self._lock)
        if kind is None and (self.out / MANIFEST).is_file():
            shutil.rmtree(self.work, ignore_errors=True)
            if self.work.parent == self.out / ".work":
                shutil.rmtree(self.work.parent, ignore_errors=True)

    def journal(self, name: str, kind: type[RowT], key: Callable[[RowT], str]) -> Journal[RowT]:
        """A resumable record of unfinished work, in the work folder."""
        journal = Journal(self.work / name, kind, key)
        self._open.append(journal)
        return journal

    def ledger(self, name: str, kind: type[RowT], window: int) -> Ledger[RowT]:
        """Records in their final order, on disk window by window, in the work folder."""
        ledger = Ledger(self.work / name, kind, window)
        self._open.append(ledger)
        return ledger

    def finish(
        self,
        summary: Mapping[str, Any],
        records: Mapping[str, Iterable[BaseModel] | Iterable[bytes]],
        cost: Mapping[str, float] | None = None,
    ) -> None:
        """Write records and summary, then the manifest over every file of the folder.

        Records may be in bytes already, as lines of JSON or blocks of such lines.
        `cost` goes to the timing: what the engine took (`dgr.engines.usage`), or the parts did.
        """
        (self.out / MANIFEST).unlink(missing_ok=True)
        for name, rows in records.items():
            write_records(self.out / name, rows)
        write_json(self.out / SUMMARY, summary)
        write_json(
            self.out / TIMING,
            {
                "started": self._started,
                "seconds": round(time.time() - self._started, 3),
                "peak_rss_mib": round(peak_rss_mib(), 1),
                "versions": package_versions(),
                **(cost or {}),
            },
        )
        for stale in self.out.rglob(TEMPORARY):  # of a process that was killed as it wrote
            stale.unlink()
        files = {
            path.relative_to(self.out).as_posix(): sha256_file(path)
            for path in sorted(self.out.rglob("*"))
            if path.is_file() and self._is_result(path)
        }
        write_json(self.out / MANIFEST, {**self.identity, "files": files})

    def _is_result(self, path: Path) -> bool:
        """Times differ from run to run and unfinished work is no result; nor of steps within."""
        parts = path.relative_to(self.out).parts
        return ".work" not in parts and path.name != TIMING and parts != (MANIFEST,)


def package_versions() -> dict[str, str]:
    """Of those packages, the ones that are installed where this runs."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_rss_mib() -> float:
    """Peak resident memory of this process so far, in MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

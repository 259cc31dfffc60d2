"""The pipeline on this machine, through kfp.local, results cached.

Each component is a process, or a container where `Containers` are given.
"""

import fcntl
import os
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.files import unwritable
from dgr.runtime import ERROR_ENV

if TYPE_CHECKING:
    from pipelines.containers import Containers
    from pipelines.watch import Failure

HIDDEN = ".kfp"
"""Folder of a run that holds what kfp.local keeps: outputs, cache, logs, its scratch space."""
GRACE = 2.0
"""Seconds for the lock of a killed run to go: a step that it was just starting holds it, too."""
LOGS, TEMPORARY, ERROR = "logs", "temporary", "error.txt"
PUBLISHED = ("ingest", "own", "refine", "shift", "arms", "sft", "evaluate", "drift", "gate",
             "record", "register", "decision.json", "run.json", "report.html", "logs",
             "prepare", "prepared", "cells", "results")  # fmt: skip


def run_align(config: RunConfig, run: Path, containers: "Containers | None" = None) -> None:
    """Run the alignment pipeline into the folder `run`.

    What is finished already is taken from the cache, and a step that was stopped goes on where
    it was. Raises `UserError` with the failed step's own sentence, and `Interrupted` after a
    signal.
    """
    from pipelines.align import ARMS_AT_ONCE, align_of
    from pipelines.arguments import arguments

    run = run.absolute()
    told = arguments(config, str(run), started=time.time())
    with pipeline_run(run, ARMS_AT_ONCE, containers):
        align_of(config.shards, config.one_engine)(**told)


@contextmanager
def pipeline_run(run: Path, at_once: int, containers: "Containers | None" = None) -> Iterator[None]:
    """Everything around the call of a pipeline that publishes into the absolute folder `run`."""
    from pipelines.watch import Watch, watched

    hidden = run / HIDDEN
    error = hidden / ERROR
    with _locked(run, hidden):
        if containers:
            containers.end_forgotten(run)
        _clear(run, hidden)
        watch = Watch(run, hidden / LOGS, hidden / TEMPORARY, error, at_once, containers)
        writable = containers.writable() if containers else nullcontext()
        with _environment(error), writable, watched(watch):
            _configure(hidden, containers)
            try:
                yield
            except RuntimeError:  # kfp.local's word for a task that failed
                watch.raise_if_stopped()
                if watch.failure is None:
                    raise
        if watch.failure is not None:
            _explain(watch.failure, error)
        shutil.rmtree(run / ".work", ignore_errors=True)


def _configure(hidden: Path, containers: "Containers | None") -> None:
    from kfp import local

    warnings.filterwarnings("ignore", module="kfp")
    local.init(
        runner=local.DockerRunner(**containers.arguments)
        if containers
        else local.SubprocessRunner(use_venv=False),
        pipeline_root=str(hidden / "outputs"),
        # kfp.local deletes this folder after each run.
        workspace_root=str(hidden / "workspace"),
        enable_caching=True,
        cache_root=str(hidden / "cache"),
    )


@contextmanager
def _locked(run: Path, hidden: Path) -> Iterator[None]:
    """One run at a time in a folder. The lock goes with the process, however that ends."""
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        lock = os.open(hidden / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise unwritable(run, error) from error
    try:
        _take(lock, run)
        yield
    finally:
        os.close(lock)


def _take(lock: int, run: Path) -> None:
    end = time.monotonic() + GRACE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise UserError(
                    f"another `dgr run` works in {run}; wait for it or stop it"
                ) from None
        time.sleep(0.05)


def _clear(run: Path, hidden: Path) -> None:
    """Take away what former runs published, and outputs that no cache entry names.

    The steps of this run are published again as they end or are found in the cache, so the folder
    never mixes results of two configs. Published files are links: the cached results stay.
    """
    try:
        for path in (
            *(run / name for name in PUBLISHED),
            *(hidden / name for name in (LOGS, TEMPORARY, ERROR)),
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for name in (LOGS, TEMPORARY):
            (hidden / name).mkdir()
    except OSError as error:
        raise unwritable(run, error) from error
    cached = "".join(entry.read_text() for entry in (hidden / "cache").glob("*.json"))
    for outputs in (hidden / "outputs").glob("*"):
        if f"/{outputs.name}/" not in cached:
            shutil.rmtree(outputs)


@contextmanager
def _environment(error: Path) -> Iterator[None]:
    """What the components find in their environment."""
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    named = {ERROR_ENV: str(error), "PYTHONPATH": path}
    named |= {"MLFLOW_DISABLE_TELEMETRY": "true"}
    former = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _explain(failure: "Failure", error: Path) -> None:
    """Raise what tells the user most about a failed step."""
    if error.is_file():
        raise UserError(error.read_text())
    if failure.code == -signal.SIGKILL:
        raise UserError(
            f"{failure.task}: the process was killed, most likely for want of memory; "
            "lower engine.batch_size or sft.micro_batch_size and run again"
        )
    raise RuntimeError(f"{failure.task} ended with exit status {failure.code}; see {failure.log}")

"""kfp.local, watched: plain logs, results published, one failure ends the run, no orphans.

kfp.local has no hooks, so this puts its own functions in the place of seven of kfp 2.17's, which
is pinned, for as long as a pipeline runs.
"""

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Protocol
from unittest import mock

from dgr.errors import Interrupted
from dgr.files import write_text
from dgr.runtime import ERROR_ENV, UNPUBLISHED, publish
from dgr.steps import MANIFEST, WORK_ENV, manifest_digest
from pipelines.containers import Container, Containers
from pipelines.processes import Process

LOOPED = ("arm", "sft", "prepare", "cell")
"""Tasks that run side by side with others of their name."""
EXIT_TASK = "finish"
"""The task that runs whatever became of the others."""


class Running(Protocol):
    """A component at work: a process or a container."""

    def lines(self) -> Iterator[str]:
        """Lines of its standard error, until it ends."""

    def wait(self) -> int:
        """Its exit status; minus the signal's number when one killed it."""

    def signal(self, signum: int) -> None:
        """Send it a signal; nothing happens if it has ended."""


@dataclass(frozen=True)
class Failure:
    """The first task that failed."""

    task: str
    code: int
    """Exit status of its process; minus the signal's number when one killed it."""
    log: Path


class Watch:
    """What happens in one run of a pipeline, told on standard error."""

    def __init__(
        self,
        run: Path,
        logs: Path,
        temporary: Path,
        error: Path,
        at_once: int,
        containers: Containers | None = None,
    ) -> None:
        self.run, self.logs, self.temporary, self.error = run, logs, temporary, error
        self.at_once, self.containers = at_once, containers
        self.failure: Failure | None = None
        self.stopped: int | None = None
        """The signal that stopped the run."""
        self._task = threading.local()
        self._speaking = threading.Lock()
        # Loops within a loop are bounded together: each of their tasks may hold a model.
        self._places = threading.BoundedSemaphore(at_once)
        self._running: set[Running] = set()

    def say(self, task: str, text: str) -> None:
        with self._speaking:
            print(f"{task:<20} {text}", file=sys.stderr, flush=True)

    def execute(self, original: Callable[..., Any], **named: Any) -> Any:
        """In the place of kfp's `execute_single_task`: run one task, or take it from the cache."""
        from kfp.local import status
        from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils

        arguments = OrchestratorUtils.make_task_arguments(
            named["task_spec"].inputs, named["io_store"]
        )
        name = re.sub(r"-\d+$", "", named["task_name"])  # KFP numbers a component's second use
        self._task.name = _told_name(name, arguments)
        self._task.in_loop = bool({"tuned", "shard"} & arguments.keys()) or name in LOOPED
        self._task.ran = False
        with self._places if self._task.in_loop else nullcontext():
            if (self.failure or self.stopped) and name != EXIT_TASK:
                return {}, status.Status.FAILURE
            started = time.monotonic()
            outputs, result = original(**named)
        if result == status.Status.SUCCESS:
            seconds = time.monotonic() - started
            for output in outputs.values() if not self._task.ran else ():
                self._publish_again(output)
            self.say(self._task.name, f"done, {seconds:.1f} s" if self._task.ran else "cached")
        return outputs, result

    def _publish_again(self, output: Any) -> None:
        """A cached result replaces what another config may have published since."""
        found = getattr(output, "metadata", {})
        if "digest" not in found or UNPUBLISHED in found:
            return
        name = f"{found['step']}/{found['arm']}" if "arm" in found else found["step"]
        folder = self.run / name
        if not (folder / MANIFEST).is_file() or manifest_digest(folder) != found["digest"]:
            publish(Path(output.path), str(self.run), name)

    def start(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """In the place of kfp's `run_local_subprocess`: one process, its progress shown."""
        environment = (env_vars or {}) | self._environment()
        return self._show(lambda log: Process(full_command, environment, log))

    def start_container(
        self,
        client: Any,
        image: str,
        command: list[str],
        volumes: dict[str, Any],
        environment: dict[str, str] | None = None,
        **arguments: Any,
    ) -> int:
        """In the place of kfp's `run_docker_container`, which takes a container that has gone
        for one that succeeded.

        kfp's `volumes` are left out: they lie in the runs' folder, and what is published by a
        hard link must be under one mount with its source.
        """
        assert self.containers is not None
        named = {**self.containers.environment, **(environment or {}), **self._environment()}
        named[ERROR_ENV] = str(self.error)
        return self._show(
            lambda log: Container(client, image, command, named, log, run=self.run, **arguments)
        )

    def _show(self, begin: Callable[[BinaryIO], Running]) -> int:
        """Run one component, its progress shown, and give back its exit status."""
        task = self._task.name
        self._task.ran = True
        self.say(task, "started")
        log = self.logs / f"{task.replace('/', '-')}.log"
        with log.open("ab", buffering=0) as file:
            running = begin(file)
            self._running.add(running)
            if self.stopped and task != EXIT_TASK:  # the signal came before this one did
                self._signal(signal.SIGTERM)
            for line in running.lines():
                if line.strip():
                    self.say(task, line.rstrip())
            code = running.wait()
            self._running.discard(running)
        if code and self.failure is None and not self.stopped:
            self.failure = Failure(task, code, log)
        return code

    def _environment(self) -> dict[str, str]:
        """Of one component: its own place for unfinished work, for two arms may have equal inputs,
        and its share of the cores, for arms run side by side."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        threads = max(1, cores // self.at_once) if self._task.in_loop else cores
        return {
            WORK_ENV: str(self.run / ".work" / self._task.name),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(threads),
            "TMPDIR": str(self.temporary),
        }

    def stop(self, signum: int, _frame: FrameType | None) -> None:
        """Ask the running steps to end; a second signal does not wait for them."""
        if self.stopped is not None:
            self._signal(signal.SIGKILL)
            return
        self.stopped = signum
        write_text(self.error, str(Interrupted(signum, "before the end")))
        self._signal(signal.SIGTERM)

    def _signal(self, signum: int) -> None:
        for running in list(self._running):
            running.signal(signum)

    def raise_if_stopped(self) -> None:
        if self.stopped:
            raise Interrupted(self.stopped, "before the end")


def _told_name(name: str, arguments: dict[str, Any]) -> str:
    """What a task is called: `evaluate/dgr/2` for the second shard of the arm `dgr`."""
    member = _member(arguments)
    parts = [name, member, str(arguments.get("shard", "")).partition("/")[0]]
    if name == "merge":
        parts = [str(arguments["step"]), member, name]
    return "/".join(filter(None, parts))


def _member(arguments: dict[str, Any]) -> str:
    """Which member of its loop a task is: an arm, or a cell, whose name is in its JSON."""
    if "cell" in arguments:
        return str(json.loads(arguments["cell"])["id"])
    return str(arguments.get("arm") or "")


def _content(original: Callable[[Any], Any], value: Any) -> Any:
    """In the place of kfp's `_serialize_value_for_key`: a step's result counts by its digest, not
    by where it lies, so what comes after a merge is in the cache as after the whole step."""
    metadata = getattr(value, "metadata", {})
    told = {"digest", "skipped"} & metadata.keys()
    return {"metadata": metadata} if told else original(value)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """kfp.local under this watch, its own logs silenced, signals passed on."""
    from kfp.local import cache, docker_task_handler, logging_utils, subprocess_task_handler
    from kfp.local.orchestrator import task_executor

    original = task_executor.execute_single_task
    key_part = cache.LocalCache._serialize_value_for_key
    with ExitStack() as stack:

        def put(module: Any, name: str, function: Any) -> None:
            stack.enter_context(mock.patch.object(module, name, function))

        put(task_executor, "execute_single_task", lambda **named: watch.execute(original, **named))
        by_content = staticmethod(lambda value: _content(key_part, value))
        put(cache.LocalCache, "_serialize_value_for_key", by_content)
        put(subprocess_task_handler, "run_local_subprocess", watch.start)
        put(docker_task_handler, "run_docker_container", watch.start_container)
        # Two threads at once would leave each other's handlers and print functions behind.
        put(logging_utils, "local_logger_context", nullcontext)
        put(logging_utils, "indented_print", nullcontext)
        put(logging_utils, "print_horizontal_line", lambda: None)
        logging.disable(logging.ERROR)
        stack.callback(logging.disable, logging.NOTSET)
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, signum, signal.signal(signum, watch.stop))
        yield

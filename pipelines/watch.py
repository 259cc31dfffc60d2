"""kfp.local, watched: plain logs, results published, one failure ends the run, no orphans.

kfp.local has no hooks, so this puts its own functions in the place of five of kfp 2.17's, which
is pinned, for as long as a pipeline runs.
"""

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from dgr.errors import Interrupted
from dgr.files import write_text
from dgr.runtime import publish
from dgr.steps import MANIFEST, WORK_ENV, manifest_digest

EXIT_TASK = "finish"
"""The task that runs whatever became of the others."""
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Failure:
    """The first task that failed."""

    task: str
    code: int
    """Exit status of its process; minus the signal's number when one killed it."""
    log: Path


class Watch:
    """What happens in one run of a pipeline, told on standard error."""

    def __init__(self, run: Path, logs: Path, temporary: Path, error: Path, at_once: int) -> None:
        self.run, self.logs, self.temporary, self.error = run, logs, temporary, error
        self.at_once = at_once
        self.failure: Failure | None = None
        self.stopped: int | None = None
        """The signal that stopped the run."""
        self._task = threading.local()
        self._speaking = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()

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
        self._task.name = f"{name}/{arguments['arm']}" if "arm" in arguments else name
        self._task.in_loop = "tuned" in arguments or name in ("arm", "sft")
        self._task.ran = False
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
        if "digest" not in found:
            return
        name = f"{found['step']}/{found['arm']}" if "arm" in found else found["step"]
        folder = self.run / name
        if not (folder / MANIFEST).is_file() or manifest_digest(folder) != found["digest"]:
            publish(Path(output.path), str(self.run), name)

    def start(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """In the place of kfp's `run_local_subprocess`: one process, its progress shown."""
        task = self._task.name
        self._task.ran = True
        self.say(task, "started")
        log = self.logs / f"{task.replace('/', '-')}.log"
        with log.open("ab", buffering=0) as file:
            process = subprocess.Popen(
                _in_place_of_shell(full_command),
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=os.environ | (env_vars or {}) | self._environment(),
                process_group=0,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # one call into a loaded library
            )
            self._processes.add(process)
            if self.stopped and task != EXIT_TASK:  # the signal came before this process did
                self._signal(signal.SIGTERM)
            with process:
                assert process.stderr is not None
                for line in process.stderr:
                    file.write(line.encode())
                    if line.strip():
                        self.say(task, line.rstrip())
            self._processes.discard(process)
        if process.returncode and self.failure is None and not self.stopped:
            self.failure = Failure(task, process.returncode, log)
        return process.returncode

    def _environment(self) -> dict[str, str]:
        """Of one process: its own place for unfinished work, for two arms may have equal inputs,
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
        for process in list(self._processes):
            if process.poll() is None:
                os.killpg(process.pid, signum)

    def raise_if_stopped(self) -> None:
        if self.stopped:
            raise Interrupted(self.stopped, "before the end")


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """kfp.local under this watch, its own logs silenced, signals passed on."""
    from kfp.local import logging_utils, subprocess_task_handler
    from kfp.local.orchestrator import task_executor

    original = task_executor.execute_single_task
    with ExitStack() as stack:

        def put(module: Any, name: str, function: Any) -> None:
            stack.enter_context(mock.patch.object(module, name, function))

        put(task_executor, "execute_single_task", lambda **named: watch.execute(original, **named))
        put(subprocess_task_handler, "run_local_subprocess", watch.start)
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


def _in_place_of_shell(command: list[str]) -> list[str]:
    """KFP starts Python through a shell: let it take the shell's place, so that signals reach it.

    A command of another form is left as it is.
    """
    script = command[2] if command[:2] == ["sh", "-ec"] else ""
    exec_script = script.replace("_KFP_RUNTIME=true ", "exec env _KFP_RUNTIME=true ", 1)
    return [*command[:2], exec_script, *command[3:]] if script else command


def _die_with_parent() -> None:
    """Ask Linux to end this process with the one that started it: a `kill -9` leaves no orphan."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

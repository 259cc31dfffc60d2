"""A component as a process of this machine."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Process:
    """One running process. Its standard output goes to `log`."""

    def __init__(self, command: list[str], environment: dict[str, str], log: BinaryIO) -> None:
        self._log = log
        self._process = subprocess.Popen(
            in_place_of_shell(command),
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | environment,
            process_group=0,
            preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509  # a call into a loaded library
        )

    def lines(self) -> Iterator[str]:
        """Lines of its standard error, which go to the log too."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.write(line.encode())
            yield line

    def wait(self) -> int:
        with self._process:
            return self._process.wait()

    def signal(self, signum: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signum)


def in_place_of_shell(command: list[str]) -> list[str]:
    """KFP starts Python through a shell: let it take the shell's place, so that signals reach it.

    A command of another form is left as it is.
    """
    script = command[2] if command[:2] == ["sh", "-ec"] else ""
    exec_script = script.replace("_KFP_RUNTIME=true ", "exec env _KFP_RUNTIME=true ", 1)
    return [*command[:2], exec_script, *command[3:]] if script else command


def die_with(parent: int) -> None:
    """Ask Linux to end this process with its parent: a `kill -9` leaves no orphan.

    A parent that died before it was asked for sends no signal any more.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

"""math-verify in a process of its own, which is ended when an answer takes too long or too much.

math-verify bounds its own time with SIGALRM, which works in a main thread alone and cannot stop
one long step of big-number arithmetic: an answer such as `9^{9^{9^9}}` would hold up an evaluation
or fill its memory. So a process compares, one pair a line of JSON, and can be lost.
"""

import atexit
import importlib.util
import json
import os
import select
import subprocess
import sys
from functools import lru_cache
from threading import Lock

from dgr.errors import MissingExtra

LIMIT_S = 20.0
"""Most seconds for one pair; whatever takes longer is not the same."""
MEMORY_BYTES = 4 * 2**30
LONGEST = 1_000
"""Characters of an answer; what is longer is no answer."""
START_S = 120.0
_READY, _EQUAL, _DIFFERENT = b"ready\n", b"1\n", b"0\n"


@lru_cache(maxsize=100_000)
def equal(gold: str, found: str) -> bool:
    """Whether math-verify takes an answer for the gold one. Too long or too hard: it does not."""
    if max(len(gold), len(found)) > LONGEST:
        return False
    if importlib.util.find_spec("math_verify") is None:
        raise MissingExtra("math-verify", "train")
    return _COMPARER.ask(gold, found)


class Comparer:
    """The process, from the first pair on; a new one after each that was lost."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, gold: str, found: str) -> bool:
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps([gold, found]).encode() + b"\n")
                process.stdin.flush()
                answer = _line(process, self.limit_s)
            except BrokenPipeError:
                answer = b""
            if answer not in (_EQUAL, _DIFFERENT):
                self._end()
            return answer == _EQUAL

    def close(self) -> None:
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # The child finds what its parent finds, wherever the parent was started.
            path = os.pathsep.join(filter(None, sys.path))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dgr.judges.equality"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
            if _line(self._process, START_S) != _READY:
                self._end()
                raise RuntimeError("math-verify cannot be started: python -m dgr.judges.equality")
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The process's next line; nothing when it is late or gone."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else b""


def main() -> None:
    """Answer pairs until there are no more."""
    import resource

    from math_verify import parse, verify
    from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    how = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        gold, found = (parse(rf"\boxed{{{text}}}", how) for text in json.loads(line))
        sys.stdout.buffer.write(_EQUAL if verify(gold, found) else _DIFFERENT)
        sys.stdout.buffer.flush()


_COMPARER = Comparer()
atexit.register(_COMPARER.close)

if __name__ == "__main__":
    main()

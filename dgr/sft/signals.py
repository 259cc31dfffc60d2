"""SIGTERM and Ctrl-C as a request that training answers between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether a signal asked to stop, and which."""

    signum: int | None = None

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        """Remember the signal. A second Ctrl-C does not wait for the step to end."""
        if self.signum == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.signum = signum


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch SIGTERM and SIGINT while the block runs. Threads cannot: there it never fires."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {
        signum: signal.signal(signum, request.receive) for signum in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield request
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

"""A real HTTP receiver on this machine that answers as it is told."""

import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dgr.notify import Event, EventKind, NotifyConfig, Target, flush

Answer = Callable[[BaseHTTPRequestHandler], None]
TOKEN = "T0KEN-that-nobody-may-see"
SECRET = "hmac-key-that-nobody-may-see"


@dataclass(frozen=True)
class Request:
    headers: dict[str, str]
    """With lower-case names."""
    body: bytes


@dataclass
class Receiver:
    """What came, and how the next requests are answered (when nothing is left: 204)."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)


def status(code: int, reason: str | None = None, **headers: str) -> Answer:
    """Answer with a status; `Retry_After="1"` is the header Retry-After."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code, reason)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    """Answer with what is no HTTP."""
    handler.wfile.write(f"{handler.path} is not for you\r\n\r\n".encode())
    handler.close_connection = True


def serve(secure: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Request(headers, body))
            answer = receiver.answers.popleft() if receiver.answers else status(204)
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Silence: what the tests look at is the sender's standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if secure:
        server.socket = secure.wrap_socket(server.socket, server_side=True)
    scheme = "https" if secure else "http"
    receiver = Receiver(f"{scheme}://127.0.0.1:{server.server_port}/hooks/{TOKEN}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses, no proxy, and nothing on its way into the next test."""
    monkeypatch.setattr("dgr.notify.posting.BACKOFF_SECONDS", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    yield
    assert flush(20) == 0


@pytest.fixture
def receiver(quick: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver whose URL is in HOOK_URL; the key is in HOOK_SECRET."""
    for receiver in serve():
        monkeypatch.setenv("HOOK_URL", receiver.url)
        monkeypatch.setenv("HOOK_SECRET", SECRET)
        yield receiver
        assert flush(20) == 0  # while the variables are still set


@pytest.fixture
def other(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A second one, in OTHER_URL."""
    for other in serve():
        monkeypatch.setenv("OTHER_URL", other.url)
        yield other
        assert flush(20) == 0


def to(*targets: Target) -> NotifyConfig:
    return NotifyConfig(targets=targets)


HOOK = Target(url_env="HOOK_URL")
SIGNED = Target(url_env="HOOK_URL", secret_env="HOOK_SECRET")
OTHER = Target(url_env="OTHER_URL")


def event(text: str = "It passed.", kind: EventKind = EventKind.VERDICT) -> Event:
    return Event(kind=kind, run="nano", text=text)

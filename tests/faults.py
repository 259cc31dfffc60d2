"""A local proxy in front of an HTTP server that counts, breaks and slows down requests.

with Proxy("http://127.0.0.1:9000", Faults(errors=0.05, seed=1)) as proxy:
    use(proxy.url)
    proxy.faults = Faults(stalls=1.0, stall_seconds=2)     # another weather from here on
    assert len(proxy.finished("PUT", "partNumber=")) == 7

The Host header goes through as it is, so that signed requests stay valid; `own_host` names the
server instead, for one that answers to no other name.
"""

import random
import socket
import threading
import time
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CHUNK = 1 << 16
HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Faults:
    """What goes wrong, each with its own share of the requests."""

    errors: float = 0.0
    """Answered 503 by the proxy; the server never sees them."""
    resets: float = 0.0
    """Connection reset before the server sees the request."""
    lost: float = 0.0
    """Done by the server, but the connection is reset instead of an answer."""
    corrupted: float = 0.0
    """Answers to GET with one bit of the body flipped."""
    damaged: float = 0.0
    """Requests that reach the server with one bit of the body flipped."""
    stalls: float = 0.0
    stall_seconds: float = 0.0
    """Silence before the request is passed on."""
    down: bool = False
    """Every connection is reset."""
    drop: str = ""
    """A header that the server does not get to see."""
    only: str = ""
    """Only requests whose `METHOD path?query` holds this text are touched."""
    seed: int = 0


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """With the query."""
    status: int
    """0: no answer reached the client."""


class Proxy:
    """Listens on a free port. Use as a context manager."""

    def __init__(self, upstream: str, faults: Faults | None = None, own_host: bool = False) -> None:
        self.upstream, self.own_host = urlsplit(upstream), own_host
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self.faults = faults or Faults()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._faults, self._random = faults, random.Random(faults.seed)

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def finished(self, method: str, text: str = "") -> list[Request]:
        """Requests that were answered well."""
        with self._lock:
            return [
                request
                for request in self.requests
                if request.method == method and text in request.path and 200 <= request.status < 300
            ]

    def note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def draw(self, what: str) -> Faults:
        """The faults of one request: every share is 0 or 1."""
        with self._lock:
            faults = self._faults
            if faults.only not in what:
                return Faults()
            hit = {
                name: float(self._random.random() < getattr(faults, name))
                for name in ("errors", "resets", "lost", "corrupted", "stalls", "damaged")
            }
            return replace(faults, **hit)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, HTTPException):
            self.close_connection = True  # The client or the server went away.

    def _serve(self) -> None:
        faults = self.server.proxy.draw(f"{self.command} {self.path}")
        if faults.stalls:
            time.sleep(faults.stall_seconds)
        if faults.down or faults.resets:
            self._reset()
        elif faults.errors:
            self._refuse()
        else:
            self._forward(faults)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = _serve

    def _note(self, status: int) -> None:
        self.server.proxy.note(Request(self.command, self.path, status))

    def _reset(self) -> None:
        self._note(0)
        # Zero seconds of lingering: the peer sees a reset, not an end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close_connection = True
        self.connection.close()

    def _refuse(self) -> None:
        self._drain()
        self._note(503)
        self.send_response(503, "Service Unavailable")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _drain(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        while left > 0 and (data := self.rfile.read(min(CHUNK, left))):
            left -= len(data)

    def _forward(self, faults: Faults) -> None:
        upstream = self.server.proxy.upstream
        server = HTTPConnection(str(upstream.hostname), upstream.port, timeout=120)
        try:
            answer = self._ask(server, faults)
            if faults.lost:
                answer.read()
                self._reset()
            else:
                self._answer(answer, bool(faults.corrupted))
        finally:
            server.close()

    def _ask(self, server: HTTPConnection, faults: Faults) -> HTTPResponse:
        own = self.server.proxy.own_host
        server.putrequest(self.command, self.path, skip_host=not own, skip_accept_encoding=True)
        dropped = HOP | {faults.drop.lower()} | ({"host"} if own else set())
        for name, value in self.headers.items():
            if name.lower() not in dropped:
                server.putheader(name, value)
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if chunked:
            server.putheader("Transfer-Encoding", "chunked")
        server.endheaders()
        try:
            self._pass_body(server, chunked, bool(faults.damaged))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # It has answered before it saw the whole body.
        return server.getresponse()

    def _pass_body(self, server: HTTPConnection, chunked: bool, damage: bool) -> None:
        if chunked:
            while True:
                line = self.rfile.readline()
                size = int(line.split(b";")[0], 16)
                server.send(line + self.rfile.read(size + 2))
                if size == 0:
                    return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0 and (data := self.rfile.read(min(CHUNK, left))):
            left -= len(data)
            if damage:
                data, damage = bytes([data[0] ^ 1]) + data[1:], False
            server.send(data)
        if left > 0:
            raise HTTPException("the client went away in the middle of the body")

    def _answer(self, answer: HTTPResponse, corrupt: bool) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        # Without a length the end of the connection is the end of the body.
        if answer.getheader("Content-Length") is None and answer.status not in (204, 304):
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        while data := answer.read(CHUNK):
            if corrupt and self.command == "GET":
                data, corrupt = bytes([data[0] ^ 1]) + data[1:], False
            self.wfile.write(data)
        self._note(answer.status)

    def log_message(self, *_: object) -> None:
        pass

"""The proxy that breaks requests for other tests."""

import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults import Faults, Proxy


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode() + self.headers.get("X-Asked", "").encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with Proxy(f"http://127.0.0.1:{server.server_port}") as proxy:
        yield proxy
    server.shutdown()
    server.server_close()


def ask(proxy: Proxy, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    try:
        connection.request(method, "/path?q=1", body, {"X-Asked": "!"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionError:
        return 0, b""
    finally:
        connection.close()


def test_passes_requests_on(proxy: Proxy) -> None:
    body = bytes(range(256)) * 1_000
    assert ask(proxy, "POST", body) == (200, body)
    assert ask(proxy) == (200, b"/path?q=1!")
    assert len(proxy.finished("POST", "q=1")) == len(proxy.finished("GET")) == 1


def test_faults_come_at_their_rate_and_again_with_the_seed(proxy: Proxy) -> None:
    def statuses(seed: int) -> list[int]:
        proxy.faults = Faults(errors=0.3, resets=0.3, seed=seed)
        return [ask(proxy)[0] for _ in range(40)]

    first = statuses(1)
    assert set(first) == {0, 200, 503}
    assert statuses(1) == first != statuses(2)


def test_each_fault(proxy: Proxy) -> None:
    proxy.faults = Faults(corrupted=1)
    assert ask(proxy) == (200, b".path?q=1!")
    proxy.faults = Faults(lost=1)
    assert ask(proxy)[0] == 0
    proxy.faults = Faults(drop="X-Asked")
    assert ask(proxy) == (200, b"/path?q=1")
    proxy.faults = Faults(down=True)
    assert ask(proxy)[0] == 0
    proxy.faults = Faults(errors=1, only="POST /path")
    assert ask(proxy)[0] == 200
    assert ask(proxy, "POST", b"x")[0] == 503
    proxy.faults = Faults(stalls=1, stall_seconds=0.2)
    started = time.monotonic()
    assert ask(proxy)[0] == 200
    assert time.monotonic() - started >= 0.2

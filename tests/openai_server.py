"""An OpenAI-compatible chat server whose answers are scripted: it stands in for vLLM."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str], dict[str, Any] | None]
"""Question -> message; None: the server breaks."""


@dataclass
class ChatServer:
    url: str
    answer: Answer
    models: list[str]
    redirect: str = ""
    """Where every GET is sent on to."""
    tokens: list[str | None] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def chat_server(answer: Answer, *models: str) -> Iterator[ChatServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            chat.tokens.append(self.headers.get("Authorization"))
            if chat.redirect:
                self.send_response(307)
                self.send_header("Location", chat.redirect + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            assert self.path == "/v1/models"
            self._json(200, {"data": [{"id": name} for name in chat.models]})

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.asked.append(body)
            message = chat.answer(body["messages"][-1]["content"])
            if message is None:
                self._json(500, {"error": "broken"})
                return
            finish = message.pop("finish_reason", "stop")
            self._json(200, {"choices": [{"message": message, "finish_reason": finish}]})

        def _json(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chat = ChatServer(f"http://127.0.0.1:{server.server_port}", answer, list(models))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()

"""A server that speaks OpenAI's API: over the transformers engine, or over a script.

`weather` says for each POST, counted from 0, what goes wrong with it.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dgr.engines import TransformersConfig
from dgr.engines.base import Request, Sampling
from dgr.engines.batch import Row
from dgr.engines.transformers import TransformersEngine
from dgr.engines.waiting import Waiting
from dgr.records import Finish

Answer = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Path and body of a POST -> what is answered."""
RUBBISH: dict[str, Any] = {
    "no-json": b"<html>busy</html>",
    "no-choices": {"choices": []},
    "list": [1, 2],
    "aborted": {"choices": [{"text": "", "token_ids": [], "finish_reason": "abort"}]},
    "no-ids": {"choices": [{"text": 7, "token_ids": ["a"], "finish_reason": None}]},
    "null": None,
}
"""Answers with status 200 that are none."""


@dataclass
class ApiServer:
    url: str
    answer: Answer
    models: dict[str, int | None]
    """Name -> context."""
    weather: Callable[[int], str] = lambda count: "fine"
    """fine, drop, half, hang, a status, or the name of some rubbish."""
    key: str | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ended = threading.Event()
        self.told: ApiServer

    def handle_error(self, *_: object) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        models = self.server.told.models
        rows = [{"id": name, "max_model_len": context} for name, context in models.items()]
        self._send(200 if rows else 404, {"data": rows})

    def do_POST(self) -> None:
        told = self.server.told
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with told.lock:
            number = len(told.asked)
            told.asked.append(body)
            told.at_once += 1
            told.most_at_once = max(told.most_at_once, told.at_once)
        try:
            self._post(told, body, told.weather(number))
        finally:
            with told.lock:
                told.at_once -= 1

    def _post(self, told: ApiServer, body: dict[str, Any], weather: str) -> None:
        if told.key and self.headers.get("Authorization") != f"Bearer {told.key}":
            self._send(401, {"error": {"message": f"{self.headers['Authorization']} is bad"}})
        elif weather in ("hang", "drop", "half"):
            self._break(weather)
        elif weather.isdigit():
            self._send(int(weather), {"error": {"message": f"it is {weather}"}})
        elif weather in RUBBISH:
            self._send(200, RUBBISH[weather])
        else:
            self._send(200, told.answer(self.path, body))

    def _break(self, how: str) -> None:
        self.close_connection = True
        if how == "hang":
            self.server.ended.wait(30)
            return
        if how == "half":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"cho')
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, code: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def api_server(answer: Answer, models: dict[str, int | None]) -> Iterator[ApiServer]:
    http = _Http()
    http.told = ApiServer(f"http://127.0.0.1:{http.server_port}/v1", answer, models)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield http.told
    finally:
        http.ended.set()
        http.shutdown()
        http.server_close()


def usage(prompt: list[int], ids: list[int]) -> dict[str, int]:
    return {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}


def scripted(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """An answer that tells the seed that it was asked with."""
    text = f"thought of {body['seed']}</think>\n\nsaid {body['seed']}"
    choice = {"text": text, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}


def slow(seconds: float) -> Answer:
    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        time.sleep(seconds)
        return scripted(path, body)

    return answer


class Served:
    """A model and its adapters behind `/completions` and `/chat/completions`, as vLLM does it."""

    def __init__(self, model: Path, thinking: Any = "auto") -> None:
        config = TransformersConfig(device="cpu", dtype="float32", threads=1, thinking=thinking)
        self.engine = TransformersEngine(config, model)
        self.adapters: dict[str, Path] = {}
        self.gives_ids = True
        self.parts_trace = False
        """Whether the chat's answers come with `reasoning_content`."""
        self._lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if path.endswith("/chat/completions"):
                return self._chat(body)
            if "prompt_logprobs" in body:
                return self._score(body["prompt"])
            return self._complete(body)

    def _generate(self, body: dict[str, Any], prompt: list[int]) -> tuple[list[int], Finish]:
        turns = self.engine.turns
        close = turns.chat.close_id in body.get("stop_token_ids", []) or "stop" in body
        request = Request(
            "r",
            "",
            until="trace" if close else "end",
            seed=body["seed"],
            adapter=self.adapters.get(body["model"]),
        )
        row = Row(request, prompt, body["max_tokens"])
        sampling = Sampling(body["temperature"], body["top_p"], body["max_tokens"])
        waiting = Waiting([request], 1, lambda _: row)
        assert waiting.turn()
        with self.engine._adapted(waiting.adapter):
            [found] = self.engine._run(waiting, sampling)
        assert found.finish is not None
        return found.ids, found.finish

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        ids, finish = self._generate(body, body["prompt"])
        text = self.engine.chat.tokenizer.decode(ids, skip_special_tokens=False)
        choice: dict[str, Any] = {"text": text, "finish_reason": finish.value}
        if self.gives_ids and body.get("return_token_ids"):
            choice["token_ids"] = ids
        return {"choices": [choice], "usage": usage(body["prompt"], ids)}

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = self.engine.chat.prompt_ids(body["messages"][-1]["content"])
        ids, finish = self._generate(body, prompt)
        message: dict[str, Any] = {"content": self.engine.chat.decode(ids)}
        if self.parts_trace:
            parsed = self.engine.chat.parse(ids)
            message = {"content": parsed.answer or None, "reasoning_content": parsed.trace}
        choice = {"message": message, "finish_reason": finish.value}
        return {"choices": [choice], "usage": usage(prompt, ids)}

    def _score(self, prompt: list[int]) -> dict[str, Any]:
        import torch

        with torch.inference_mode():
            logs = self.engine.model(torch.tensor([prompt])).logits[0].log_softmax(-1)
        entries: list[Any] = [None]
        entries += [
            {str(token): {"logprob": logs[place, token].item()}}
            for place, token in enumerate(prompt[1:])
        ]
        choice = {"text": "", "finish_reason": "length", "prompt_logprobs": entries}
        return {
            "choices": [choice],
            "usage": {"prompt_tokens": len(prompt), "completion_tokens": 1},
        }

"""A KFP API server on this machine: pipelines, versions, experiments, runs, recurring runs.

Every request and every answer is held against KFP's own contract (its Swagger file): an unknown
path, method, query parameter or field is a violation, and a violation fails the test.

    kfp.fail("POST /runs", 503, times=2)    # before the server acts; "reset" cuts the connection
    kfp.fail("POST /runs", "lost")          # it acts, and the answer is cut
    kfp.states = ["RUNNING", "SUCCEEDED"]   # of a run, one for each time that it is asked for
"""

import copy
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import jsonschema
import pytest
import yaml

CONTRACT = Path(__file__).parents[2] / "shared" / "apis" / "kfp_v2beta1.swagger.json"
ROOT = "/apis/v2beta1"
Record = dict[str, Any]
Page = dict[str, Any]


class Contract:
    """What KFP's Swagger file says of a request and its answer."""

    def __init__(self, path: Path) -> None:
        self._spec = _strict(json.loads(path.read_text()))
        # Literal paths before those with parameters: pipelines/upload is no pipeline's id.
        paths = sorted(self._spec["paths"], key=lambda path: path.count("{"))
        self._paths = [(path, re.compile(_pattern(path))) for path in paths]

    def operation(self, method: str, path: str) -> tuple[Record, tuple[str, ...]]:
        """The operation behind a path, and the path's parameters."""
        for template, pattern in self._paths:
            match = pattern.fullmatch(path)
            if match:
                methods = self._spec["paths"][template]
                if method.lower() not in methods:
                    raise Violation(f"{template} has no {method}")
                return methods[method.lower()], match.groups()
        raise Violation(f"no path {path}")

    def check_request(self, operation: Record, query: list[tuple[str, str]], body: Any) -> None:
        known = {each["name"]: each for each in operation.get("parameters", ())}
        for name, value in query:
            if known.get(name, {}).get("in") != "query":
                raise Violation(f"{operation['operationId']}: no query parameter {name}")
            if known[name]["type"] == "integer" and not value.isdecimal():
                raise Violation(f"{operation['operationId']}: {name} is {value}")
        for each in known.values():
            if each["in"] == "body":
                self._check(body, each["schema"], operation["operationId"])
            if each["in"] == "formData" and each["name"] not in (body or {}):
                raise Violation(f"{operation['operationId']}: no part {each['name']}")

    def check_answer(self, operation: Record, status: int, body: Any) -> None:
        answers = operation["responses"]
        schema = answers.get(str(status), answers["default"])["schema"]
        self._check(body, schema, f"{operation['operationId']} {status}")

    def _check(self, value: Any, schema: Record, where: str) -> None:
        whole = {**schema, "definitions": self._spec["definitions"]}
        checker = jsonschema.Draft4Validator.FORMAT_CHECKER
        for error in jsonschema.Draft4Validator(whole, format_checker=checker).iter_errors(value):
            raise Violation(f"{where}: {'.'.join(map(str, error.path))}: {error.message}")


class Violation(Exception):
    """The contract does not allow this."""


def _pattern(template: str) -> str:
    parts = re.split(r"\{[^}]+\}", template)
    return "([^/:]+)".join(map(re.escape, parts))


def _strict(value: Any) -> Any:
    """The same with unknown fields refused, and 64-bit integers as JSON has them: both ways."""
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _strict(item) for name, item in value.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    if found.get("format") == "int64":
        found["type"] = ["string", "integer"]
    return found


@dataclass
class Fault:
    where: str
    """`METHOD path`, without the common root; a path that begins so."""
    what: int | str
    """A status, `reset` or `lost`."""
    times: int


@dataclass
class Refusal(Exception):
    status: int
    message: str


@dataclass
class KfpServer:
    """The state of the server, and what a test may set."""

    contract: Contract
    url: str = ""
    token: str | None = None
    """What every request must carry."""
    multi_user: bool = False
    page_limit: int = 100
    """Items of a page, whatever was asked for."""
    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    tasks: Callable[[str], list[Record]] = lambda state: []
    """The tasks of a run in some state."""
    pipelines: dict[str, Record] = field(default_factory=dict)
    versions: dict[str, Record] = field(default_factory=dict)
    uploads: dict[str, list[Any]] = field(default_factory=dict)
    """Documents of every uploaded version."""
    experiments: dict[str, Record] = field(default_factory=dict)
    runs: dict[str, Record] = field(default_factory=dict)
    recurring: dict[str, Record] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _asked: dict[str, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def fail(self, where: str, what: int | str, times: int = 1) -> None:
        self._faults.append(Fault(where, what, times))

    def count(self, where: str) -> int:
        """Requests that reached the server, by `METHOD path`."""
        return sum(request.startswith(where) for request in self.requests)

    def fault(self, request: str) -> int | str | None:
        with self._lock:
            for fault in self._faults:
                if fault.times and request.startswith(fault.where):
                    fault.times -= 1
                    return fault.what
        return None

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """Status and body; what the contract does not allow is kept in `violations`."""
        url = urlsplit(target)
        query = parse_qsl(url.query, keep_blank_values=True)
        with self._lock:
            try:
                operation, ids = self.contract.operation(method, url.path)
                told = _read(headers.get("Content-Type", ""), body)
                self.contract.check_request(operation, query, told)
                status, found = self._act(operation, ids, dict(query), told, headers)
                self.contract.check_answer(operation, status, found)
            except Violation as violation:
                self.violations.append(f"{method} {target}: {violation}")
                return 400, {"message": str(violation)}
            return status, found

    def _act(
        self, operation: Record, ids: tuple[str, ...], query: Record, body: Any, headers: Any
    ) -> tuple[int, Any]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation["operationId"].split("_")[-1]).lower()
        try:
            if self.token and headers.get("Authorization") != f"Bearer {self.token}":
                raise Refusal(401, "Request not authenticated")
            act = getattr(self, f"do_{name}", None)
            if act is None:
                raise Violation(f"this server has no {operation['operationId']}")
            return 200, act(*ids, query=query, body=body)
        except Refusal as refusal:
            return refusal.status, {"code": 5, "message": refusal.message}

    def do_get_healthz(self, query: Record, body: Any) -> Record:
        return {"multi_user": self.multi_user}

    def do_list_pipelines(self, query: Record, body: Any) -> Page:
        return self._page("pipelines", self.pipelines, query)

    def do_create_pipeline(self, query: Record, body: Record) -> Record:
        return _add(self.pipelines, "pipeline_id", body, "namespace")

    def do_list_pipeline_versions(self, pipeline: str, query: Record, body: Any) -> Page:
        found(self.pipelines, pipeline)
        own = {key: one for key, one in self.versions.items() if one["pipeline_id"] == pipeline}
        return self._page("pipeline_versions", own, query)

    def do_upload_pipeline_version(self, query: Record, body: Record) -> Record:
        found(self.pipelines, query["pipelineid"])
        documents = list(yaml.safe_load_all(body["uploadfile"]))
        version = {"pipeline_id": query["pipelineid"], "display_name": query["name"]}
        added = _add(self.versions, "pipeline_version_id", version, "pipeline_id")
        self.uploads[added["pipeline_version_id"]] = documents
        return added

    def do_list_experiments(self, query: Record, body: Any) -> Page:
        return self._page("experiments", self.experiments, query)

    def do_create_experiment(self, query: Record, body: Record) -> Record:
        return _add(self.experiments, "experiment_id", body, "namespace")

    def do_create_run(self, query: Record, body: Record) -> Record:
        self._check_runnable(body)
        return _add(self.runs, "run_id", body | {"state": "PENDING"})

    def do_list_runs(self, query: Record, body: Any) -> Page:
        runs = self.runs
        if "experiment_id" in query:
            wanted = query["experiment_id"]
            runs = {key: run for key, run in runs.items() if run["experiment_id"] == wanted}
        elif self.multi_user and not query.get("namespace"):
            raise Refusal(400, "A namespace is needed in multi-user mode")
        return self._page("runs", runs, query | {"namespace": ""})

    def do_get_run(self, run_id: str, query: Record, body: Any) -> Record:
        run = found(self.runs, run_id)
        if run["state"] not in ("SUCCEEDED", "FAILED", "CANCELED"):
            turn = self._asked.get(run_id, 0)
            self._asked[run_id] = turn + 1
            ending = run["state"] == "CANCELING"
            run["state"] = "CANCELED" if ending else self.states[min(turn, len(self.states) - 1)]
        details = [task | {"run_id": run_id} for task in self.tasks(run["state"])]
        return run | {"run_details": {"task_details": details}}

    def do_terminate_run(self, run_id: str, query: Record, body: Any) -> Record:
        found(self.runs, run_id)["state"] = "CANCELING"
        return {}

    def do_create_recurring_run(self, query: Record, body: Record) -> Record:
        self._check_runnable(body)
        status = "ENABLED" if body.get("mode") == "ENABLE" else "DISABLED"
        return _add(self.recurring, "recurring_run_id", body | {"status": status})

    def do_list_recurring_runs(self, query: Record, body: Any) -> Page:
        return self._page("recurringRuns", self.recurring, query | {"namespace": ""})

    def do_disable_recurring_run(self, which: str, query: Record, body: Any) -> Record:
        found(self.recurring, which)["status"] = "DISABLED"
        return {}

    def do_enable_recurring_run(self, which: str, query: Record, body: Any) -> Record:
        found(self.recurring, which)["status"] = "ENABLED"
        return {}

    def do_delete_recurring_run(self, which: str, query: Record, body: Any) -> Record:
        found(self.recurring, which)
        del self.recurring[which]
        return {}

    def _check_runnable(self, body: Record) -> None:
        """What KFP's server refuses: no such version, a missing parameter, an unknown one."""
        found(self.experiments, body["experiment_id"])
        version = body["pipeline_version_reference"]["pipeline_version_id"]
        found(self.versions, version)
        inputs = self.uploads[version][0]["root"]["inputDefinitions"]["parameters"]
        given = set(body["runtime_config"]["parameters"])
        needed = {name for name, value in inputs.items() if not value.get("isOptional")}
        if not needed <= given <= set(inputs):
            raise Refusal(400, f"parameters: {sorted(given ^ needed)}")

    def _page(self, name: str, records: dict[str, Record], query: Record) -> Page:
        chosen = list(records.values())
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", ()):
            assert predicate["operation"] == 1, "EQUALS alone is served"
            key, value = predicate["key"], predicate["stringValue"]
            chosen = [record for record in chosen if record.get(key) == value]
        if query.get("namespace"):
            chosen = [one for one in chosen if one.get("namespace") == query["namespace"]]
        if query.get("sort_by", "").endswith(" desc"):
            chosen.reverse()
        start = int(query.get("page_token") or 0)
        end = start + min(self.page_limit, int(query.get("page_size") or 10))
        page: Page = {name: copy.deepcopy(chosen[start:end]), "total_size": len(chosen)}
        if end < len(chosen):
            page["next_page_token"] = str(end)
        return page


def found(records: dict[str, Record], which: str) -> Record:
    if which not in records:
        raise Refusal(404, f"{which} not found")
    return records[which]


def _add(
    records: dict[str, Record], key: str, body: Record, unique_in: str | None = None
) -> Record:
    """Keep a new record; its name is unique among those that share `unique_in`."""
    for one in records.values() if unique_in else ():
        if all(one.get(name) == body.get(name) for name in ("display_name", unique_in)):
            raise Refusal(409, f"{body['display_name']} already exists")
    which = str(uuid4())
    created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=len(records))
    records[which] = body | {key: which, "created_at": created.isoformat()}
    return copy.deepcopy(records[which])


def _read(kind: str, body: bytes) -> Any:
    """A JSON body, or the parts of a form by name."""
    if not kind.startswith("multipart/"):
        return json.loads(body) if body else None
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
        for part in message.iter_parts()
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kfp: KfpServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = f"{self.command} {self.path.removeprefix(ROOT)}"
        fault = self.kfp.fault(request)
        if fault == "reset":
            self._cut()
            return
        if isinstance(fault, int):
            self._send(fault, {"code": 13, "message": "injected"})
            return
        self.kfp.requests.append(request)
        status, answer = self.kfp.answer(self.command, self.path, self.headers, body)
        if fault == "lost":
            self._cut()
        else:
            self._send(status, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Not on the tests' output."""


@pytest.fixture(scope="session")
def contract() -> Contract:
    if not CONTRACT.is_file():
        pytest.skip(f"{CONTRACT} is not on this machine")
    return Contract(CONTRACT)


@pytest.fixture
def kfp(contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    """A server that the environment names; nothing else of the environment counts."""
    server = KfpServer(contract)
    handler = type("Handler", (_Handler,), {"kfp": server})
    for name in ("KFP_EXISTING_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH", "KF_PIPELINES_UI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        server.url = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
        try:
            yield server
        finally:
            http.shutdown()
    assert server.violations == []

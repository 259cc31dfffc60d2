"""The Kubernetes API on this machine, for the resources that we use, over real HTTP.

    with KubernetesServer(schemas=crd_schemas()) as server:
        cluster = server.cluster(tmp_path)         # through a kubeconfig and the real client
        server.controller = ready                  # plays the operator: object -> statuses

Behaves as the API server does where our code could notice: resource versions and 409, 404, 410 on
old watches, chunked watches, owners of fields in server-side apply, strict validation against the
published CRDs. Two simplifications: lists are owned whole, and only CEL rules of the kind
`self == oldSelf` at the top of a spec are known.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from k8s.client import Cluster, Resource, connect

CRDS = Path(__file__).parents[2] / "shared" / "crds"
TOKEN = "test-token"
Object = dict[str, Any]
Key = tuple[str, str, str, str]
"""API version, plural, namespace, name."""
Path_ = tuple[str, ...]
PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>status|log))?$"
)


@lru_cache(maxsize=1)
def crd_schemas() -> dict[tuple[str, str], Any]:
    """(API version, plural) -> schema, of every published CRD; empty where they are not here."""
    found = {}
    for path in sorted(CRDS.glob("*.yaml")) if CRDS.is_dir() else ():
        crd = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        for version in crd["versions"]:
            schema = version.get("schema", {}).get("openAPIV3Schema")
            if schema:
                key = (f"{crd['group']}/{version['name']}", crd["names"]["plural"])
                found[key] = _strict(schema)
    return found


def _strict(schema: Any) -> Any:
    """An OpenAPI schema as JSON Schema that refuses unknown fields."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items() if key != "description"}
    keeps = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not keeps and "type" in schema:
        strict.setdefault("additionalProperties", False)
    return strict


class Refused(Exception):
    def __init__(self, code: int, reason: str, message: str, causes: list[Object] | None = None):
        self.code = code
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": {"causes": causes or []},
            "code": code,
        }


class KubernetesServer:
    """Objects, their history, and who owns which field."""

    def __init__(self, schemas: dict[tuple[str, str], Any] | None = None) -> None:
        self.schemas = schemas or {}
        self.objects: dict[Key, Object] = {}
        self.owners: dict[Key, dict[tuple[str, str], set[Path_]]] = {}
        self.events: list[tuple[int, Key, str, Object]] = []
        self.oldest = 0
        """Watches from before this resource version are answered 410."""
        self.version = 100
        self.changed = threading.Condition(threading.RLock())
        self.denied: set[tuple[str, str]] = set()
        """(verb, plural) that SelfSubjectAccessReview denies."""
        self.logs: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str, str]] = []
        """Method, path with query, content type."""
        self.groups: dict[str, list[str]] = {}
        """Group -> served versions."""
        self.forbidden: set[tuple[str, str]] = set()
        """(HTTP method, plural) that is answered 403."""
        self.sent: list[Object] = []
        """Every object of a JSON answer."""
        self.failures: list[int] = []
        """Statuses of the next answers, before any work is done."""
        self.controller: Callable[[Object], Iterable[tuple[float, Object]]] | None = None
        """(seconds, status) one after the other for a new generation of an object."""
        self.before_write: Callable[[Key], None] | None = None
        """Called before each PUT and PATCH: another client that is faster."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Handler,), {"api": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "KubernetesServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, folder: Path, namespace: str = "ml") -> Path:
        path = folder / "kubeconfig"
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": TOKEN}}],
            "contexts": [
                {
                    "name": "test",
                    "context": {"cluster": "test", "user": "me", "namespace": namespace},
                }
            ],
        }
        path.write_text(yaml.safe_dump(value))
        return path

    # What clients do.

    def get(self, key: Key) -> Object:
        with self.changed:
            if key not in self.objects:
                raise _missing(key)
            return deepcopy(self.objects[key])

    def listed(self, prefix: tuple[str, str, str], query: dict[str, str]) -> Object:
        with self.changed:
            items = [
                deepcopy(found)
                for key, found in sorted(self.objects.items())
                if key[:3] == prefix and _selected(key, found, query)
            ]
            return {"items": items, "metadata": {"resourceVersion": str(self.version)}}

    def create(
        self, key: Key, body: Object, manager: str = "test", operation: str = "Update"
    ) -> Object:
        with self.changed:
            if key in self.objects:
                raise Refused(409, "AlreadyExists", f'{key[1]} "{key[3]}" already exists')
            self._validate(key, body)
            body = deepcopy(body)
            body["metadata"] |= {
                "uid": f"uid-{self.version}",
                "generation": 1,
                "creationTimestamp": _now(),
            }
            self.owners[key] = {(manager, operation): set(_leaves(body))}
            return self._store(key, body, "ADDED", new_spec=True)

    def replace(self, key: Key, body: Object, manager: str) -> Object:
        with self.changed:
            now = self.get(key)
            version = body["metadata"].get("resourceVersion")
            if version and version != now["metadata"]["resourceVersion"]:
                raise _stale(key)
            self._validate(key, body, now)
            if fields := body["metadata"].get("managedFields"):
                self.owners[key] = {
                    (each["manager"], each["operation"]): set(_paths(each["fieldsV1"]))
                    for each in fields
                }
            old, new = _leaves(now), _leaves(body)
            changed = {path for path in new if path not in old or old[path] != new[path]}
            for paths in self.owners[key].values():
                paths.difference_update(changed, old.keys() - new.keys())
            if changed:
                self.owners[key].setdefault((manager, "Update"), set()).update(changed)
            return self._finish(key, now, body)

    def apply(self, key: Key, body: Object, manager: str, force: bool) -> Object:
        """Server-side apply."""
        with self.changed:
            wanted_version = body["metadata"].pop("resourceVersion", None)
            if key not in self.objects:
                if wanted_version:
                    raise _stale(key)
                return self.create(key, body, manager, "Apply")
            now = self.get(key)
            if wanted_version and wanted_version != now["metadata"]["resourceVersion"]:
                raise _stale(key)
            new, old, me = _leaves(body), _leaves(now), (manager, "Apply")
            others = {who: paths for who, paths in self.owners[key].items() if who != me}
            disputed = {
                path: who
                for who, paths in others.items()
                for path in new
                if path in paths and old.get(path) != new[path]
            }
            if disputed and not force:
                raise _owned(disputed)
            for paths in others.values():
                paths.difference_update(disputed)
            kept = {path for paths in others.values() for path in paths}
            dropped = self.owners[key].get(me, set()) - new.keys() - kept
            result = deepcopy(now)
            for path in dropped:
                _remove(result, path)
            for path, value in new.items():
                _set(result, path, value)
            self._validate(key, result, now)
            self.owners[key][me] = set(new)
            return self._finish(key, now, result)

    def merge(self, key: Key, body: Object, manager: str) -> Object:
        with self.changed:
            return self.replace(key, _merged(self.get(key), body), manager)

    def delete(self, key: Key) -> Object:
        with self.changed:
            found = self.get(key)
            del self.objects[key], self.owners[key]
            self.version += 1
            found["metadata"]["resourceVersion"] = str(self.version)
            self.events.append((self.version, key, "DELETED", found))
            self.changed.notify_all()
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    # What operators do.

    def set_status(self, key: Key, status: Object) -> None:
        with self.changed:
            body = self.get(key) | {"status": status}
            self._validate(key, body)
            self._store(key, body, "MODIFIED", new_spec=False)

    def compact(self) -> None:
        """Forget the past: watches from before now are too old."""
        with self.changed:
            self.oldest = self.version + 1
            self.version += 1
            self.events.clear()
            self.changed.notify_all()

    def _finish(self, key: Key, now: Object, body: Object) -> Object:
        body = deepcopy(body)
        body["status"] = now.get("status", {})
        for field in ("uid", "creationTimestamp", "generation"):
            body["metadata"][field] = now["metadata"][field]
        body["metadata"]["managedFields"] = self._managed(key)
        if body == now:
            return now  # nothing to do makes no new version
        new_spec = body.get("spec") != now.get("spec")
        body["metadata"]["generation"] += new_spec
        return self._store(key, body, "MODIFIED", new_spec)

    def _store(self, key: Key, body: Object, kind: str, new_spec: bool) -> Object:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        body["metadata"]["managedFields"] = self._managed(key)
        self.objects[key] = body
        self.events.append((self.version, key, kind, deepcopy(body)))
        self.changed.notify_all()
        if new_spec and self.controller:
            steps = self.controller(deepcopy(body))
            threading.Thread(target=self._play, args=(key, body, steps), daemon=True).start()
        return deepcopy(body)

    def _managed(self, key: Key) -> list[Object]:
        return [
            {"manager": manager, "operation": operation, "fieldsV1": _fields(paths)}
            for (manager, operation), paths in self.owners[key].items()
            if paths
        ]

    def _play(self, key: Key, body: Object, steps: Iterable[tuple[float, Object]]) -> None:
        for seconds, status in steps:
            time.sleep(seconds)
            with self.changed:
                now = self.objects.get(key)
                same = now and now["metadata"]["generation"] == body["metadata"]["generation"]
                if not same or now["metadata"]["uid"] != body["metadata"]["uid"]:
                    return
                generation = {"observedGeneration": body["metadata"]["generation"]}
                observes = key[1] == "inferenceservices"
                self.set_status(key, (generation if observes else {}) | status)

    def _validate(self, key: Key, body: Object, now: Object | None = None) -> None:
        from jsonschema import Draft202012Validator

        schema = self.schemas.get((key[0], key[1]))
        if schema is None:
            return
        empty = {name: value for name, value in body.items() if name != "status" or value}
        problem = next(Draft202012Validator(schema).iter_errors(empty), None)
        if problem:
            where = ".".join(str(part) for part in problem.path)
            raise Refused(422, "Invalid", f"{key[3]} is invalid: {where}: {problem.message[:200]}")
        fields = schema["properties"]["spec"].get("properties", {}) if now else {}
        for name, field in fields.items():
            rules = [rule["rule"] for rule in field.get("x-kubernetes-validations", [])]
            if "self == oldSelf" in rules and body["spec"].get(name) != now["spec"].get(name):
                raise Refused(422, "Invalid", f"spec.{name}: field is immutable")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _missing(key: Key) -> Refused:
    return Refused(404, "NotFound", f'{key[1]} "{key[3]}" not found')


def _stale(key: Key) -> Refused:
    return Refused(409, "Conflict", f'{key[1]} "{key[3]}": the object has been modified')


def _owned(disputed: dict[Path_, tuple[str, str]]) -> Refused:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}" using {operation}',
            "field": "." + ".".join(path),
        }
        for path, (manager, operation) in disputed.items()
    ]
    return Refused(409, "Conflict", f"Apply failed with {len(causes)} conflict(s)", causes)


def _leaves(body: Object) -> dict[Path_, Any]:
    """Every field that somebody can own, with its value."""
    found: dict[Path_, Any] = {}

    def walk(value: Any, path: Path_) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(inner, (*path, key))
        else:
            found[path] = value

    for part in ("spec",):
        walk(body.get(part, {}), (part,))
    for part in ("labels", "annotations"):
        walk(body["metadata"].get(part) or {}, ("metadata", part))
    return found


def _fields(paths: set[Path_]) -> Object:
    """Paths as the API writes them: `{"f:spec": {"f:replicas": {}}}`."""
    tree: Object = {}
    for path in sorted(paths):
        inner = tree
        for part in path:
            inner = inner.setdefault(f"f:{part}", {})
    return tree


def _paths(tree: Object, before: Path_ = ()) -> Iterator[Path_]:
    for key, inner in tree.items():
        path = (*before, key.removeprefix("f:"))
        if inner:
            yield from _paths(inner, path)
        else:
            yield path


def _set(body: Object, path: Path_, value: Any) -> None:
    for part in path[:-1]:
        body = body.setdefault(part, {})
    body[path[-1]] = value


def _remove(body: Object, path: Path_) -> None:
    *parents, last = path
    chain = [body]
    for part in parents:
        chain.append(chain[-1].get(part, {}))
    chain[-1].pop(last, None)
    for parent, part, child in reversed(list(zip(chain, parents, chain[1:], strict=False))):
        if not child and part not in ("spec", "metadata"):
            parent.pop(part, None)


def _merged(now: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(now) if isinstance(now, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _selected(key: Key, found: Object, query: dict[str, str]) -> bool:
    field = query.get("fieldSelector", "")
    if field and key[3] != field.removeprefix("metadata.name="):
        return False
    labels = found["metadata"].get("labels") or {}
    wanted = [pair.split("=", 1) for pair in query.get("labelSelector", "").split(",") if pair]
    return all(labels.get(name) == value for name, value in wanted)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: KubernetesServer

    def _serve(self) -> None:
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        kind = self.headers.get("Content-Type", "")
        self.api.requests.append((self.command, self.path, kind))
        try:
            if self.api.failures:
                raise Refused(self.api.failures.pop(0), "Scripted", "not now")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            group = split.path.removeprefix("/apis/")
            if group in self.api.groups:
                versions = [{"version": version} for version in self.api.groups[group]]
                self._json(200, {"kind": "APIGroup", "name": group, "versions": versions})
                return
            match = PATH.match(split.path)
            if match is None:
                raise Refused(404, "NotFound", "the server could not find the requested resource")
            group, version = match["group"], match["version"]
            api_version = f"{group}/{version}" if group else version
            key = (api_version, match["plural"], match["namespace"] or "", match["name"] or "")
            self._route(key, match["sub"], query, body, kind)
        except Refused as refused:
            self._json(refused.code, refused.body)
        except BrokenPipeError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _route(
        self, key: Key, sub: str | None, query: dict[str, str], body: Any, kind: str
    ) -> None:
        manager = query.get("fieldManager", "unknown")
        if (self.command, key[1]) in self.api.forbidden:
            raise Refused(403, "Forbidden", f"{key[1]} is forbidden: no right to {self.command}")
        if key[1] == "selfsubjectaccessreviews":
            self._json(201, self._review(body))
        elif sub == "log":
            self._log(key, query)
        elif self.command == "GET" and query.get("watch"):
            self._watch(key, query)
        elif self.command == "GET":
            found = self.api.get(key) if key[3] else self.api.listed(key[:3], query)
            if "as=PartialObjectMetadata" in self.headers.get("Accept", ""):
                found = {name: found[name] for name in ("metadata",)}
            self._json(200, found)
        elif self.command == "POST":
            self._json(201, self.api.create((*key[:3], body["metadata"]["name"]), body, manager))
        elif self.command == "DELETE":
            self._json(200, self.api.delete(key))
        else:
            self._write(key, body, kind, manager, query)

    def _write(
        self, key: Key, body: Object, kind: str, manager: str, query: dict[str, str]
    ) -> None:
        if self.api.before_write:
            self.api.before_write(key)
        if self.command == "PUT":
            self._json(200, self.api.replace(key, body, manager))
        elif kind == "application/apply-patch+yaml":
            self._json(200, self.api.apply(key, body, manager, query.get("force") == "true"))
        elif kind == "application/merge-patch+json":
            self._json(200, self.api.merge(key, body, manager))
        else:
            raise Refused(415, "UnsupportedMediaType", kind)

    def _review(self, body: Object) -> Object:
        wanted = body["spec"]["resourceAttributes"]
        name = wanted["resource"] + (f"/{wanted['subresource']}" if "subresource" in wanted else "")
        return body | {"status": {"allowed": (wanted["verb"], name) not in self.api.denied}}

    def _watch(self, key: Key, query: dict[str, str]) -> None:
        since = int(query["resourceVersion"])
        end = time.monotonic() + float(query.get("timeoutSeconds", "60"))
        if since < self.api.oldest:
            raise Refused(410, "Expired", "too old resource version")
        with self._chunks() as send:
            while True:
                with self.api.changed:
                    if since < self.api.oldest:
                        gone = Refused(410, "Expired", "too old resource version").body
                        send(json.dumps({"type": "ERROR", "object": gone}))
                        return
                    new = [event for event in self.api.events if event[0] > since]
                    if not new:
                        left = end - time.monotonic()
                        if left <= 0:
                            return
                        self.api.changed.wait(left)
                        continue
                for version, where, kind, found in new:
                    since = version
                    if where[:3] == key[:3] and _selected(where, found, query):
                        send(json.dumps({"type": kind, "object": found}))

    def _log(self, key: Key, query: dict[str, str]) -> None:
        self.api.get(key)
        since = query.get("sinceTime", "")
        with self._chunks() as send:
            for line in self.api.logs.get(key[3], []):
                if line.split(" ")[0] >= since:
                    send(line)

    def _chunks(self) -> "_Chunks":
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        return _Chunks(self)

    def _json(self, code: int, body: Object) -> None:
        self.api.sent.append(body)
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class _Chunks:
    """A chunked answer, one line a chunk."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler

    def __enter__(self) -> Callable[[str], None]:
        return self._send

    def _send(self, line: str) -> None:
        data = line.encode() + b"\n"
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._handler.wfile.flush()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._handler.wfile.write(b"0\r\n\r\n")


def key_of(resource: Resource, name: str, namespace: str = "ml") -> Key:
    inside = namespace if resource.namespaced else ""
    return (resource.api_version, resource.plural, inside, name)


def served(
    folder: Path, monkeypatch: Any, schemas: dict[tuple[str, str], Any] | None = None
) -> Iterator[tuple[KubernetesServer, Cluster]]:
    """A server and the cluster that a kubeconfig of it makes."""
    with KubernetesServer(schemas) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(folder)))
        # The client reads the variable when it is imported, which may have been before.
        from kubernetes.config import kube_config

        monkeypatch.setattr(
            kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig(folder))
        )
        yield server, connect()

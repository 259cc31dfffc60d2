"""One namespace of a cluster, through the `kubernetes` client: plain dicts in and out.

    cluster = connect(namespace="ml")
    cluster.apply(INFERENCE_SERVICE, body)
    for now in cluster.watch(INFERENCE_SERVICE, "nano", seconds=600): ...

What time may mend (429, 5xx, a lost connection) is tried again; everything else is one sentence.
"""

import json
import random
import re
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.errors import MissingExtra, UserError

MANAGER = "dgr"
"""Our name as an owner of fields (server-side apply)."""
PATIENCE = 60.0
"""Seconds for which a request is tried again."""
LONGEST_WAIT = 8.0
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
WATCH_SECONDS = 240
"""A watch is opened anew after so long; servers end them after some minutes anyway."""
_PASSING = {429, 500, 502, 503, 504}
_IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_JITTER = random.Random()  # not the global generator, which belongs to seeded work

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A kind of object of the API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


INFERENCE_SERVICE = Resource(
    "serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"
)
TRAIN_JOB = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
LOCAL_QUEUE = Resource("kueue.x-k8s.io", "v1beta1", "localqueues", "LocalQueue")
POD = Resource("", "v1", "pods", "Pod")
SECRET = Resource("", "v1", "secrets", "Secret")
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
SCHEDULED_WORKFLOW = Resource("kubeflow.org", "v1beta1", "scheduledworkflows", "ScheduledWorkflow")
ACCESS_REVIEW = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False
)


class ClusterError(UserError):
    """The cluster refused a request or could not be reached. `status` 0: no answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Conflict(ClusterError):
    """409: the object was changed by somebody else since it was read, or it exists already.

    `owners` are the field managers that a server-side apply would have overruled.
    """

    owners: frozenset[str] = frozenset()


class Cluster:
    """Objects of one namespace."""

    def __init__(self, api: Any, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def get(self, resource: Resource, name: str) -> Object | None:
        """The object; None when there is none."""
        try:
            return self._object("GET", self._path(resource, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def objects(self, resource: Resource, labels: str = "") -> list[Object]:
        query = {"labelSelector": labels} if labels else {}
        items: list[Object] = self._call("GET", self._path(resource), query)["items"]
        return items

    def exists(self, resource: Resource, name: str) -> bool:
        """Whether there is such an object; nothing but its metadata is fetched."""
        kind = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        try:
            self._call("GET", self._path(resource, name), accept=kind)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def versions(self, group: str) -> list[str]:
        """Versions of a group of the API that are served; none where it is not installed."""
        try:
            found = self._call("GET", f"/apis/{group}")
        except ClusterError as error:
            if error.status == 404:
                return []
            raise
        return [str(each["version"]) for each in found["versions"]]

    def create(self, resource: Resource, body: Object) -> Object:
        return self._object("POST", self._path(resource), {"fieldManager": MANAGER}, body)

    def apply(self, resource: Resource, body: Object, *, force: bool = False) -> Object:
        """Create the object or make its fields those of `body` (server-side apply).

        Fields of ours that `body` lacks go away, and those that others own are not overruled
        unless `force`. A `resourceVersion` in `body` must still be the object's.
        """
        path = self._path(resource, body["metadata"]["name"])
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        query |= {"force": "true"} if force else {}
        return self._object("PATCH", path, query, body, "application/apply-patch+yaml")

    def adopted(self, resource: Resource, found: Object) -> Object:
        """The object, with what we once put by `replace` owned as if we had applied it.

        Else the next `apply` could neither change those fields nor take them away.
        """
        entries = found["metadata"].get("managedFields", [])
        ours = [
            entry
            for entry in entries
            if entry["manager"] == MANAGER and not entry.get("subresource")
        ]
        if all(entry["operation"] == "Apply" for entry in ours):
            return found
        fields: Object = {}
        for entry in ours:
            fields = _union(fields, entry["fieldsV1"])
        one = {**ours[0], "operation": "Apply", "fieldsV1": fields}
        body = deepcopy(found)
        others = [entry for entry in entries if entry not in ours]
        body["metadata"]["managedFields"] = [*others, one]
        return self.replace(resource, body)

    def replace(self, resource: Resource, body: Object) -> Object:
        """Put the whole object; `Conflict` unless its `resourceVersion` is still the newest."""
        path = self._path(resource, body["metadata"]["name"])
        return self._object("PUT", path, {"fieldManager": MANAGER}, body)

    def delete(self, resource: Resource, name: str) -> bool:
        """Delete an object and what it owns; False when there was none."""
        body = {"propagationPolicy": "Background", "apiVersion": "v1", "kind": "DeleteOptions"}
        try:
            self._call("DELETE", self._path(resource, name), {}, body)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def watch(self, resource: Resource, name: str, seconds: float) -> Iterator[Object | None]:
        """The object as it is, then after every change, until the time is over. None: it is gone.

        What an expired or broken watch may have missed is found by reading the object again.
        """
        end = time.monotonic() + seconds
        query = {"fieldSelector": f"metadata.name={name}"}
        while True:
            found = self._call("GET", self._path(resource), query)
            yield found["items"][0] if found["items"] else None
            version = found["metadata"]["resourceVersion"]
            while version:
                left = end - time.monotonic()
                if left <= 0:
                    return
                version = yield from self._events(resource, query, version, left)
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    def _events(
        self, resource: Resource, query: Mapping[str, str], version: str, left: float
    ) -> Generator[Object | None, None, str]:
        """Changes since a version; the last version, or "" when it is too old to go on from."""
        from kubernetes.watch.watch import iter_resp_lines
        from urllib3.exceptions import HTTPError

        wait = max(1, min(WATCH_SECONDS, int(left)))
        query = {**query, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(wait)}
        try:
            response = self._call("GET", self._path(resource), query, stream=True, read=wait + 5)
            try:
                for line in iter_resp_lines(response):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return ""
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield None if event["type"] == "DELETED" else event["object"]
            finally:
                response.close()
        except ClusterError as error:
            if error.status not in (0, 410):
                raise
            return ""
        except (HTTPError, ValueError):  # cut, maybe in the middle of a line
            return ""
        return version

    def logs(self, pod: str, *, since: str = "", follow: bool = False) -> Iterator[str]:
        """Lines of a pod's log, each after its time: `<RFC 3339> <text>`."""
        from kubernetes.watch.watch import iter_resp_lines
        from urllib3.exceptions import HTTPError

        query = {"timestamps": "true"}
        query |= {"follow": "true"} if follow else {}
        query |= {"sinceTime": since} if since else {}
        path = f"{self._path(POD, pod)}/log"
        response = self._call("GET", path, query, stream=True, read=WATCH_SECONDS)
        try:
            yield from iter_resp_lines(response)
        except HTTPError:
            return  # whoever follows asks again from the last line on
        finally:
            response.close()

    def allowed(self, verb: str, resource: Resource, subresource: str = "") -> bool:
        """Whether we may do that in this namespace."""
        attributes = {"verb": verb, "group": resource.group, "resource": resource.plural}
        attributes |= {"subresource": subresource} if subresource else {}
        attributes |= {"namespace": self.namespace} if resource.namespaced else {}
        body = {
            "apiVersion": ACCESS_REVIEW.api_version,
            "kind": ACCESS_REVIEW.kind,
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._call("POST", self._path(ACCESS_REVIEW), {}, body)
        return bool(answer["status"]["allowed"])

    def _path(self, resource: Resource, name: str = "") -> str:
        root = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
        inside = f"/namespaces/{self.namespace}" if resource.namespaced else ""
        return f"{root}{inside}/{resource.plural}" + (f"/{name}" if name else "")

    def _object(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        kind: str = "application/json",
    ) -> Object:
        found: Object = self._call(method, path, query, body, kind)
        return found

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        kind: str = "application/json",
        *,
        accept: str = "application/json",
        stream: bool = False,
        read: float = READ_SECONDS,
    ) -> Any:
        end, wait = time.monotonic() + PATIENCE, 0.25
        while True:
            try:
                with _told(self.api.configuration.host, f"{method} {path}"):
                    return self.api.call_api(
                        path,
                        method,
                        query_params=list((query or {}).items()),
                        header_params={"Accept": accept, "Content-Type": kind},
                        body=body,
                        response_type="object",
                        auth_settings=["BearerToken"],
                        _return_http_data_only=True,
                        _preload_content=not stream,
                        _request_timeout=(CONNECT_SECONDS, read),
                    )
            except ClusterError as error:
                again = error.status in _PASSING or error.status == 0
                if not again or time.monotonic() + wait > end:
                    raise
            time.sleep(wait * _JITTER.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)


def _union(one: Object, other: Object) -> Object:
    both = one.keys() & other.keys()
    return {**one, **other, **{key: _union(one[key], other[key]) for key in both}}


def connect(namespace: str = "", context: str | None = None) -> Cluster:
    """The cluster of the kubeconfig, or the one that this pod runs in. Makes no call.

    `namespace` empty: the context's, or the pod's own.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise MissingExtra("kubernetes", "cluster") from None
    settings = client.Configuration()
    settings.retries = False  # `_call` tries again itself, with pauses
    try:
        if context is None and _IN_CLUSTER_NAMESPACE.is_file():
            config.load_incluster_config(client_configuration=settings)
            own = _IN_CLUSTER_NAMESPACE.read_text().strip()
        else:
            config.load_kube_config(
                context=context, client_configuration=settings, persist_config=False
            )
            contexts, active = config.list_kube_config_contexts()
            chosen = next((found for found in contexts if found["name"] == context), active)
            own = chosen["context"].get("namespace", "")
    except (config.ConfigException, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"no cluster is configured: {why}; set KUBECONFIG") from None
    return Cluster(client.ApiClient(settings), namespace or own or "default")


@contextmanager
def _told(host: str, what: str) -> Iterator[None]:
    """Turn what the client raises into one sentence."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _refused(error, what) from None
    except HTTPError as error:
        why = type(getattr(error, "reason", None) or error).__name__
        raise ClusterError(0, f"the cluster at {host} cannot be reached ({why})") from None


def _refused(error: Any, what: str) -> ClusterError:
    try:
        status = json.loads(error.body)
        message, causes = status["message"], status.get("details", {}).get("causes", [])
    except (TypeError, ValueError, KeyError):
        message, causes = error.reason or "no reason given", []
    why = _without_tokens(" ".join(str(message).split())[:400])
    code = int(error.status or 0)
    sentence = f"the cluster answered {code} to {what}: {why}"
    if code != 409:
        return ClusterError(code, sentence)
    conflict = Conflict(code, sentence)
    owners = [
        re.match(r'conflict with "([^"]*)"', cause.get("message", ""))
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]
    conflict.owners = frozenset(match[1] if match else "?" for match in owners)
    return conflict


def _without_tokens(text: str) -> str:
    """A server's message without what looks like a credential."""
    return re.sub(r"(?i)(bearer\s+\S+|eyJ[\w-]{10,}(\.[\w-]+)*)", "***", text)

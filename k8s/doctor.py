"""What a cluster lacks, before any work: one line a check, as `dgr doctor` prints them.

for check in check_cluster(cluster, Wanted(image="dgr-runner:0.1.0", queue="gpu")): ...
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from dgr.checks import Check
from dgr.cluster import TrainJobConfig
from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.registry.tracking import URI_ENV
from k8s.client import (
    INFERENCE_SERVICE,
    LOCAL_QUEUE,
    NODE,
    POD,
    SCHEDULED_WORKFLOW,
    SECRET,
    TRAIN_JOB,
    Cluster,
    ClusterError,
    Object,
    Resource,
)
from k8s.signals import interrupts

GPU = "nvidia.com/gpu"
PARTS = {
    "Kubeflow Pipelines": SCHEDULED_WORKFLOW,
    "Kubeflow Trainer": TRAIN_JOB,
    "Kueue": LOCAL_QUEUE,
    "KServe": INFERENCE_SERVICE,
}
Right = tuple[str, Resource, str]
"""Verb, resource, subresource."""


def _rights(resource: Resource, verbs: str, subresource: str = "") -> list[Right]:
    return [(verb, resource, subresource) for verb in verbs.split()]


ROLES: dict[str, list[Right]] = {
    "deploy": _rights(INFERENCE_SERVICE, "get list watch create patch update delete"),
    "train": [
        *_rights(TRAIN_JOB, "get list watch create delete"),
        *_rights(POD, "list"),
        *_rights(POD, "get", "log"),
    ],
    "look": [
        *_rights(POD, "get list watch create delete"),
        *_rights(POD, "get", "log"),
        *_rights(SECRET, "get"),
        *_rights(LOCAL_QUEUE, "list"),
        *_rights(NODE, "list"),
    ],
}
"""What each use of a cluster asks for: `dgr deploy`, `dgr sft --train-job`, `dgr doctor`."""

PROBE = """
import json, sys, urllib.error, urllib.request
found = {}
for name, url in json.loads(sys.argv[1]).items():
    try:
        found[name] = urllib.request.urlopen(url, timeout=10).status
    except urllib.error.HTTPError as error:
        found[name] = error.code
    except Exception as error:
        found[name] = type(getattr(error, "reason", None) or error).__name__
print(json.dumps(found))
"""
PROBE_SECONDS = 120
_NEVER = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError",
          "CreateContainerError"}  # fmt: skip
"""Reasons of a waiting container that no waiting mends."""


@dataclass(frozen=True)
class Wanted:
    """What the cluster is to be good for."""

    image: str = ""
    """Of the pod that looks at the network from inside; empty: nobody looks."""
    queue: str | None = None
    gpus: int = 0
    secrets: tuple[str, ...] = ()
    urls: tuple[tuple[str, str], ...] = ()
    """Name and URL of what pods must reach."""


def wanted(
    config: RunConfig | None, nodes: TrainJobConfig | None, image: str, secrets: tuple[str, ...]
) -> Wanted:
    """What a run and its training (`nodes`, or what the run says of it) ask of a cluster."""
    nodes = nodes or (config.cluster.train_job if config else None)
    urls = []
    endpoint = (nodes.env.get("AWS_ENDPOINT_URL") if nodes else None) or os.environ.get(
        "AWS_ENDPOINT_URL"
    )
    if endpoint:
        urls.append(("S3", endpoint))
    tracking = (config.registry.tracking_uri if config else None) or os.environ.get(URI_ENV, "")
    if tracking.startswith("http"):
        # Not /health, which answers 200 even where the server refuses the name it is called by.
        query = "api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
        urls.append(("MLflow", f"{tracking.rstrip('/')}/{query}"))
    own = (nodes.secret,) if nodes and nodes.secret else ()
    return Wanted(
        image=image or (nodes.image if nodes else None) or "",
        queue=nodes.queue if nodes else None,
        gpus=nodes.nodes * nodes.gpus if nodes else 0,
        secrets=(*own, *secrets),
        urls=tuple(urls),
    )


def check_cluster(cluster: Cluster, want: Wanted) -> Iterator[Check]:
    """Parts and versions, rights, queues, GPUs, secrets, and what pods reach."""
    try:
        found = {name: cluster.versions(part.group) for name, part in PARTS.items()}
    except ClusterError as error:
        yield Check("cluster", False, str(error))
        return
    yield Check("cluster", True, f"{cluster.api.configuration.host}, namespace {cluster.namespace}")
    for name, part in PARTS.items():
        yield _part(name, part, found[name])
    for role, rights in ROLES.items():
        yield _told(f"rights to {role}", partial(_role, cluster, role, rights))
    if found["Kueue"]:
        yield _told("queues", partial(_queues, cluster, want.queue))
    yield _told("GPUs", partial(_gpus, cluster, want.gpus))
    for secret in want.secrets:
        yield _told(f"secret {secret}", partial(_secret, cluster, secret))
    if want.urls and want.image:
        yield from _reached(cluster, want)
    elif want.urls:
        names = " and ".join(name for name, _ in want.urls)
        yield Check("inside", True, f"{names}: not asked from inside; name an --image that may run")


def _told(name: str, look: Callable[[], Check]) -> Check:
    """A check, failed with its reason where the cluster does not let us look."""
    try:
        return look()
    except ClusterError as error:
        return Check(name, False, f"{name}: {error}")


def _part(name: str, part: Resource, versions: list[str]) -> Check:
    if part.version in versions:
        return Check(name, True, f"{name} serves {part.group}/{part.version}")
    if versions:
        why = f"serves {part.group} {', '.join(versions)}, and we speak {part.version}"
        return Check(name, False, f"{name} {why}; install a release that serves it")
    return Check(name, False, f"{name} is not installed: nothing serves {part.group}")


def _role(cluster: Cluster, role: str, rights: list[Right]) -> Check:
    lacking = [
        f"{verb} {resource.plural}{'/' if subresource else ''}{subresource}"
        for verb, resource, subresource in rights
        if not cluster.allowed(verb, resource, subresource)
    ]
    name = f"rights to {role}"
    if lacking:
        return Check(name, False, f"{name}: may not {', '.join(lacking)}; bind a role that may")
    return Check(name, True, f"{name}: all {len(rights)}")


def _queues(cluster: Cluster, queue: str | None) -> Check:
    active = {
        each["metadata"]["name"]: any(
            condition["type"] == "Active" and condition["status"] == "True"
            for condition in each.get("status", {}).get("conditions", [])
        )
        for each in cluster.objects(LOCAL_QUEUE)
    }
    shown = ", ".join(sorted(active)) or "none"
    if queue is None:
        return Check("queues", True, f"queues in {cluster.namespace}: {shown}")
    if queue not in active:
        mend = f"{cluster.namespace} has no LocalQueue {queue} (it has: {shown}); make it"
        return Check("queues", False, mend)
    if not active[queue]:
        return Check("queues", False, f"LocalQueue {queue} is not active; look at its ClusterQueue")
    return Check("queues", True, f"LocalQueue {queue} is active")


def _gpus(cluster: Cluster, needed: int) -> Check:
    nodes = [node.get("status", {}).get("allocatable", {}) for node in cluster.objects(NODE)]
    counts = [int(node[GPU]) for node in nodes if int(node.get(GPU, "0"))]
    enough = sum(counts) >= needed
    mend = "" if enough else f"; the training asks for {needed}"
    found = f"{sum(counts)} GPUs are allocatable on {len(counts)} of {len(nodes)} nodes"
    return Check("GPUs", enough, found + mend)


def _secret(cluster: Cluster, name: str) -> Check:
    """Its name alone: what it holds never leaves the cluster."""
    there = cluster.exists(SECRET, name)
    mend = "is there" if there else f"is not in {cluster.namespace}; make it"
    return Check(f"secret {name}", there, f"secret {name} {mend}")


def probe_pod(cluster: Cluster, want: Wanted) -> Object:
    """A pod that may run where Pod Security is `restricted`, and ends by itself."""
    container = {
        "name": "look",
        "image": want.image,
        "command": ["python", "-c", PROBE, json.dumps(dict(want.urls))],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            "name": f"dgr-doctor-{uuid.uuid4().hex[:8]}",
            "namespace": cluster.namespace,
            "labels": {"app.kubernetes.io/managed-by": "dgr"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": PROBE_SECONDS,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }


def _reached(cluster: Cluster, want: Wanted) -> Iterator[Check]:
    """What a pod reaches from inside. It is deleted whatever happens."""
    body = probe_pod(cluster, want)
    name = body["metadata"]["name"]
    try:
        with interrupts(f"and pod {name} is deleted"):
            cluster.create(POD, body)
            try:
                found = _answers(cluster, name)
            finally:
                cluster.delete(POD, name)
    except UserError as error:
        yield Check("inside", False, f"from inside: {error}")
        return
    for name, url in want.urls:
        yield _answered(name, url, found.get(name, "no answer"))


def _answers(cluster: Cluster, name: str) -> dict[str, object]:
    for pod in cluster.watch(POD, name, PROBE_SECONDS + 30):
        status = (pod or {}).get("status", {})
        if pod is None or status.get("phase") == "Failed":
            raise UserError(f"pod {name} failed: {status.get('message') or 'it was deleted'}")
        for container in status.get("containerStatuses", []):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in _NEVER:
                why = f"{waiting['reason']}: {waiting.get('message', '')}"
                raise UserError(f"pod {name} cannot start: {why}")
        if status.get("phase") == "Succeeded":
            last = [line.partition(" ")[2] for line in cluster.logs(name)][-1:]
            try:
                answers: dict[str, object] = json.loads(last[0])
            except (IndexError, ValueError):
                raise UserError(f"pod {name} left no answer in its log") from None
            return answers
    raise UserError(f"pod {name} did not end in {PROBE_SECONDS} s; is there room for it?")


def _answered(name: str, url: str, answer: object) -> Check:
    where = f"{name} from inside ({url.partition('?')[0]})"
    if not isinstance(answer, int):
        return Check(name, False, f"{where}: cannot be reached ({answer}); look at NetworkPolicies")
    if name == "MLflow" and answer == 403:
        return Check(
            name, False, f"{where}: answers 403; start it with --allowed-hosts for that name"
        )
    if answer >= 500:
        return Check(name, False, f"{where}: answers {answer}; look at its log")
    return Check(name, True, f"{where}: answers")

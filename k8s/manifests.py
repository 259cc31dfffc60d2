"""What an overlay renders to, and what its objects hold: pods, images, Secrets.

objects = render(Path("k8s/overlays/gpu"))
images(objects)                     # {"docker.io/vllm/vllm-openai@sha256:...", ...}
"""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dgr.errors import UserError

Object = dict[str, Any]

_POD_AT = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True)
class PodTemplate:
    """A pod that an object makes."""

    owner: str
    namespace: str
    spec: Object
    labels: dict[str, str]

    @property
    def containers(self) -> list[Object]:
        return [
            container
            for part in ("initContainers", "containers", "ephemeralContainers")
            for container in self.spec.get(part) or ()
        ]


def kubectl() -> str:
    """The program, of this environment or of the machine."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which(
        "kubectl"
    )
    if found is None:
        raise UserError("kubectl is not installed; see https://kubernetes.io/docs/tasks/tools")
    return found


def render(overlay: Path) -> list[Object]:
    """All objects of an overlay."""
    answer = subprocess.run(
        [kubectl(), "kustomize", str(overlay)], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise UserError(f"{overlay} cannot be rendered: {' '.join(answer.stderr.split())}")
    return [value for value in yaml.safe_load_all(answer.stdout) if value]


def name_of(value: Object) -> str:
    return f"{value['kind']}/{value['metadata']['name']}"


def namespace_of(value: Object) -> str:
    """Empty for what belongs to no namespace."""
    return str(value["metadata"].get("namespace", ""))


def pods(value: Object) -> Iterator[PodTemplate]:
    """Every pod template within an object, our custom resources included."""
    kind = value["kind"]
    if kind in _POD_AT:
        template = _at(value, _POD_AT[kind])
        yield _pod(value, template["spec"], template.get("metadata") or {})
    elif kind in ("TrainingRuntime", "ClusterTrainingRuntime"):
        for job in value["spec"]["template"]["spec"]["replicatedJobs"]:
            template = _at(job, ("template", "spec", "template"))
            yield _pod(value, template["spec"], template.get("metadata") or {})
    elif kind in ("ServingRuntime", "ClusterServingRuntime"):
        yield _pod(value, value["spec"], value["spec"])
        if "workerSpec" in value["spec"]:
            yield _pod(value, value["spec"]["workerSpec"], value["spec"]["workerSpec"])


def all_pods(objects: Iterable[Object]) -> Iterator[PodTemplate]:
    for value in objects:
        yield from pods(value)


def images(objects: Iterable[Object]) -> set[str]:
    return {
        str(container.get("image", "")) for pod in all_pods(objects) for container in pod.containers
    }


def is_pinned(image: str) -> bool:
    name, _, digest = image.partition("@sha256:")
    return bool(name) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def needed_secrets(objects: Iterable[Object]) -> set[tuple[str, str]]:
    """Namespace and name of each Secret that pods cannot start without and nobody makes here."""
    objects = list(objects)
    made = {
        (namespace_of(value), value["metadata"]["name"])
        for value in objects
        if value["kind"] in ("Secret", "ExternalSecret")
    }
    needed = {(pod.namespace, name) for pod in all_pods(objects) for name in _secrets_of(pod)}
    for value in objects:
        if value["kind"] == "ServiceAccount":
            named = (value.get("imagePullSecrets") or []) + (value.get("secrets") or [])
            needed |= {(namespace_of(value), each["name"]) for each in named}
    return needed - made


def _secrets_of(pod: PodTemplate) -> Iterator[str]:
    references: list[Object] = []
    for container in pod.containers:
        references += [
            each["secretRef"] for each in container.get("envFrom") or () if "secretRef" in each
        ]
        sources = [each.get("valueFrom") or {} for each in container.get("env") or ()]
        references += [each["secretKeyRef"] for each in sources if "secretKeyRef" in each]
    for volume in pod.spec.get("volumes") or ():
        if "secret" in volume:
            secret = volume["secret"]
            references.append({"name": secret["secretName"], "optional": secret.get("optional")})
    references += pod.spec.get("imagePullSecrets") or []
    yield from (each["name"] for each in references if not each.get("optional"))


def _pod(value: Object, spec: Object, metadata: Object) -> PodTemplate:
    return PodTemplate(name_of(value), namespace_of(value), spec, metadata.get("labels") or {})


def _at(value: Object, keys: tuple[str, ...]) -> Object:
    for key in keys:
        value = value[key]
    return value

"""`make deploy OVERLAY=gpu` and `make undeploy OVERLAY=gpu`: kubectl, and the checks around it.

`kubectl apply -k k8s/overlays/gpu` does the same, unchecked.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

from dgr.errors import UserError
from k8s.manifests import (
    Object,
    images,
    is_pinned,
    kubectl,
    name_of,
    namespace_of,
    needed_secrets,
    render,
)

OVERLAYS = Path(__file__).parent / "overlays"
BY_TAG = "local-kind"
"""The one overlay whose images have no digest: they are loaded into kind, from no registry."""
UNSET = ("192.0.2.", "example.org")
"""What stands in an overlay for an address that its user has to set (RFC 5737, RFC 2606)."""
RUNS = "kubeflow"
ENFORCE = "pod-security.kubernetes.io/enforce"
FETCHES_MODELS = "clusterstoragecontainer"
KEPT = ("Namespace", "PersistentVolumeClaim")
"""What `down` leaves: data, and the namespaces that hold it."""
SHARED = "ConfigMap/kfp-launcher"
"""Made by Kubeflow Pipelines, which does not run without it; we set what it says."""
WAIT = "10m"


def mistakes(overlay: str, objects: list[Object]) -> list[str]:
    """What is wrong with a rendered overlay, before any cluster is asked."""
    found = []
    unpinned = sorted(image for image in images(objects) if not is_pinned(image))
    if unpinned and overlay != BY_TAG:
        found.append(
            f"images without a digest: {', '.join(unpinned)}; run make pins, and list "
            "components/pins last"
        )
    for value in objects:
        if any(unset in json.dumps(value) for unset in UNSET):
            found.append(f"{name_of(value)} still has an address that you must set (marked SET)")
    return found


def missing(objects: list[Object]) -> list[str]:
    """What the cluster lacks."""
    found = [
        f"there is no Secret {name} in {namespace}; docs/cluster.md lists what it holds"
        for namespace, name in sorted(needed_secrets(objects))
        if not _get("secret", name, namespace)
    ]
    runs = _get("namespace", RUNS)
    labels = runs["metadata"].get("labels", {}) if runs else {}
    if not runs:
        found.append(f"there is no namespace {RUNS}; install Kubeflow Pipelines first")
    elif labels.get(ENFORCE) != "restricted":
        found.append(f"namespace {RUNS} does not enforce the restricted profile; label it so")
    fetches = _get(FETCHES_MODELS, "default")
    if not (fetches or {}).get("spec", {}).get("container", {}).get("securityContext"):
        found.append(
            "KServe's storage initializer would be refused by the restricted profile; run: kubectl "
            f"patch {FETCHES_MODELS} default --type merge --patch-file k8s/storage-initializer.yaml"
        )
    return found


def up(overlay: str) -> None:
    objects = render(OVERLAYS / overlay)
    problems = mistakes(overlay, objects) or missing(objects)
    if problems:
        raise UserError(f"{overlay} is not ready to be deployed: {'; '.join(problems)}")
    _pipe(["apply", "-f", "-"], objects)
    for value in objects:
        if value["kind"] in ("Deployment", "StatefulSet"):
            name, namespace = name_of(value).lower(), namespace_of(value)
            _run("rollout", "status", name, "-n", namespace, "--timeout", WAIT)


def down(overlay: str) -> None:
    objects = [
        value
        for value in render(OVERLAYS / overlay)
        if value["kind"] not in KEPT and name_of(value) != SHARED
    ]
    _pipe(["delete", "--ignore-not-found", "-f", "-"], objects)
    print("Namespaces and disks stay; remove them by kubectl if nothing on them matters.")


def _get(kind: str, name: str, namespace: str = "") -> Object | None:
    place = ["-n", namespace] if namespace else []
    command = [kubectl(), "get", kind, name, *place, "-o", "json", "--ignore-not-found"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UserError(f"the cluster did not answer: {' '.join(answer.stderr.split())[:300]}")
    found: Object | None = json.loads(answer.stdout) if answer.stdout.strip() else None
    return found


def _run(*arguments: str) -> None:
    if subprocess.run([kubectl(), *arguments], check=False).returncode:
        raise UserError(f"kubectl {' '.join(arguments)} failed; its own words are above")


def _pipe(arguments: list[str], objects: list[Object]) -> None:
    text = yaml.safe_dump_all(objects, sort_keys=False)
    if subprocess.run([kubectl(), *arguments], input=text, text=True, check=False).returncode:
        raise UserError(f"kubectl {arguments[0]} failed; its own words are above")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m k8s.deploy", description=__doc__)
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("overlay", choices=sorted(path.name for path in OVERLAYS.iterdir()))
    given = parser.parse_args(arguments)
    try:
        (up if given.what == "up" else down)(given.overlay)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What runs at once fits into what the namespaces and queues may have."""

from decimal import Decimal
from typing import Any

import pytest
from kubernetes.utils.quantity import parse_quantity

from k8s.manifests import Object, all_pods
from tests.k8s.conftest import OVERLAYS

Rendered = dict[str, list[Object]]


def asked(objects: list[Object]) -> dict[str, Decimal]:
    """Of all servers, one TrainJob's node, one model server, and every CronJob at the same time."""
    total: dict[str, Decimal] = {"pods": Decimal(0)}
    replicas = {
        f"{value['kind']}/{value['metadata']['name']}": value["spec"].get("replicas", 1)
        for value in objects
        if value["kind"] in ("Deployment", "StatefulSet")
    }
    for pod in all_pods(objects):
        count = replicas.get(pod.owner, 1)
        total["pods"] += count
        for container in pod.containers:
            for part, amounts in container["resources"].items():
                for resource, amount in amounts.items():
                    key = f"{part}.{resource}"
                    total[key] = total.get(key, Decimal(0)) + count * parse_quantity(amount)
    return total


def one(objects: list[Object], kind: str, name: str) -> Any:
    (found,) = [
        value for value in objects if value["kind"] == kind and value["metadata"]["name"] == name
    ]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_of_it_fits_the_quota(rendered: Rendered, overlay: str) -> None:
    objects = rendered[overlay]
    hard = one(objects, "ResourceQuota", "dgr")["spec"]["hard"]
    for resource, amount in asked(objects).items():
        if resource in hard:
            assert amount <= parse_quantity(hard[resource]), resource
    claims = [value["spec"] for value in objects if value["kind"] == "PersistentVolumeClaim"] + [
        claim["spec"]
        for value in objects
        if value["kind"] == "StatefulSet"
        for claim in value["spec"].get("volumeClaimTemplates", ())
    ]
    stored = sum(parse_quantity(claim["resources"]["requests"]["storage"]) for claim in claims)
    assert stored <= parse_quantity(hard["requests.storage"])
    assert len(claims) <= int(hard["persistentvolumeclaims"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_in_memory_fits_the_limit(rendered: Rendered, overlay: str) -> None:
    """A volume in memory counts against the container that fills it."""
    for pod in all_pods(rendered[overlay]):
        limit = sum(
            parse_quantity(each["resources"]["limits"]["memory"]) for each in pod.containers
        )
        for volume in pod.spec.get("volumes", ()):
            if volume.get("emptyDir", {}).get("medium") == "Memory":
                assert parse_quantity(volume["emptyDir"]["sizeLimit"]) < limit, pod.owner


def test_a_queue_admits_a_training_on_gpus_and_a_step_without(rendered: Rendered) -> None:
    objects = rendered["gpu-kueue"]
    (group,) = one(objects, "ClusterQueue", "dgr")["spec"]["resourceGroups"]
    quotas = [
        {each["name"]: parse_quantity(each["nominalQuota"]) for each in flavor["resources"]}
        for flavor in group["flavors"]
    ]
    assert all(set(quota) == set(group["coveredResources"]) for quota in quotas)
    train = next(pod for pod in all_pods(objects) if pod.owner == "TrainingRuntime/dgr-sft")
    requests = train.containers[0]["resources"]["requests"]

    def flavor_of(wanted: dict[str, Decimal]) -> str:
        """As Kueue does: the first whose quota holds all."""
        for flavor, quota in zip(group["flavors"], quotas, strict=True):
            if all(amount <= quota[resource] for resource, amount in wanted.items()):
                return str(flavor["name"])
        return "none"

    assert flavor_of({key: parse_quantity(value) for key, value in requests.items()}) == "dgr-gpu"
    assert flavor_of({"cpu": Decimal(2), "memory": parse_quantity("4Gi")}) == "dgr-cpu"
    flavors = {value["metadata"]["name"] for value in objects if value["kind"] == "ResourceFlavor"}
    assert flavors == {flavor["name"] for flavor in group["flavors"]}
    queues = [value for value in objects if value["kind"] == "LocalQueue"]
    assert {queue["metadata"]["namespace"] for queue in queues} == {"dgr", "kubeflow"}
    assert all(queue["spec"]["clusterQueue"] == "dgr" for queue in queues)

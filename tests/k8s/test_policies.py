"""Every overlay keeps to every policy, and every policy catches what it is there for."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.manifests import Object, all_pods, images
from tests.k8s.conftest import OVERLAYS, PRODUCTION, REGISTRY
from tests.k8s.policies import (
    POLICIES,
    Policy,
    bounded,
    denied_by_default,
    least_rights,
    namespaces_enforce,
    narrow_network,
    no_idle_tokens,
    no_secret_values,
    pinned,
    restricted,
    whole,
)

ROOT = Path(__file__).parents[2]
Rendered = dict[str, list[Object]]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_keep_to_the_policies(rendered: Rendered, overlay: str, policy: Policy) -> None:
    assert policy(rendered[overlay]) == []


@pytest.mark.parametrize("overlay", [*PRODUCTION, "everything"])
def test_production_is_pinned_and_holds_no_secret(rendered: Rendered, overlay: str) -> None:
    assert pinned(rendered[overlay]) == []
    assert no_secret_values(rendered[overlay]) == []


def test_each_kind_of_pod_is_looked_at(rendered: Rendered) -> None:
    owners = {pod.owner.partition("/")[0] for pod in all_pods(rendered["everything"])}
    assert owners == {"Deployment", "StatefulSet", "CronJob", "TrainingRuntime", "ServingRuntime"}
    made = [value for value in rendered["everything"] if "containers" in str(value)]
    assert len(made) == len(list(all_pods(rendered["everything"])))


def test_pods_of_runs_are_shut_in_the_namespace_of_kubeflow_pipelines(rendered: Rendered) -> None:
    runs = {"matchExpressions": [{"key": "pipeline/runid", "operator": "Exists"}]}
    for objects in rendered.values():
        policies = [
            value["spec"]
            for value in objects
            if value["kind"] == "NetworkPolicy" and value["metadata"]["namespace"] == "kubeflow"
        ]
        assert {"podSelector": runs, "policyTypes": ["Ingress", "Egress"]} in policies
        # Pods that are not ours are selected by none.
        assert all(policy["podSelector"] == runs for policy in policies)


def test_airgapped_pulls_from_one_registry_and_reaches_nothing_outside(rendered: Rendered) -> None:
    objects = rendered["airgapped"]
    assert {image.rpartition("/")[0] for image in images(objects)} == {REGISTRY}
    accounts = [value for value in objects if value["kind"] == "ServiceAccount"]
    assert all(account["imagePullSecrets"] == [{"name": "registry"}] for account in accounts)
    blocks = {
        value["metadata"]["name"]
        for value in objects
        if value["kind"] == "NetworkPolicy" and "ipBlock" in str(value["spec"])
    }
    # The API server, whose address the user sets, is the one thing that has no pod to select.
    assert blocks == {"uses-kubernetes", "dgr-runs-kubernetes"}
    assert "example.org" not in str(objects) and "huggingface" not in str(objects)


def test_only_the_overlay_for_kind_makes_secrets(rendered: Rendered) -> None:
    made = {
        name
        for name, objects in rendered.items()
        if any(value["kind"] == "Secret" for value in objects)
    }
    assert made == {"local-kind"}


def test_who_promotes_has_no_right_in_the_cluster(rendered: Rendered) -> None:
    for objects in rendered.values():
        subjects = {
            subject["name"]
            for value in objects
            if value["kind"] == "RoleBinding"
            for subject in value["subjects"]
        }
        assert subjects == {"dgr-runner", "dgr-train-launcher", "dgr-deployer"}


# ---- Doctored objects, each of which one policy must catch ----


def pod(**spec: Any) -> Object:
    """A pod that keeps to everything."""
    container = {
        "name": "main",
        "image": f"registry/image@sha256:{'0' * 64}",
        "resources": {part: {"cpu": "1", "memory": "1Gi"} for part in ("requests", "limits")},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    whole = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": "dgr"},
        "spec": whole | spec,
    }


def changed(value: Object, path: str, new: Any) -> Object:
    """A copy with one field set; a number in the path is a place in a list."""
    value = deepcopy(value)
    *keys, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    inner: Any = value
    for key in keys:
        inner = inner[key] if isinstance(key, int) or key in inner else inner.setdefault(key, {})
    inner[last] = new
    return value


CONTAINER = "spec/containers/0"
CONTEXT, POD_CONTEXT = f"{CONTAINER}/securityContext", "spec/securityContext"
HTTP = {"httpGet": {"path": "/", "port": 80, "host": "192.0.2.9"}}
VIOLATIONS = [
    ("spec/hostNetwork", True, "hostNetwork"),
    ("spec/hostPID", True, "hostPID"),
    ("spec/hostIPC", True, "hostIPC"),
    ("spec/volumes", [{"name": "v", "hostPath": {"path": "/"}}], "volume v is a hostPath"),
    ("spec/volumes", [{"name": "v", "nfs": {"server": "s", "path": "/"}}], "volume v is a nfs"),
    (f"{POD_CONTEXT}/sysctls", [{"name": "kernel.msgmax", "value": "1"}], "sysctl kernel.msgmax"),
    (f"{POD_CONTEXT}/seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
    (f"{POD_CONTEXT}/runAsUser", 0, "runAsUser 0"),
    (f"{POD_CONTEXT}/windowsOptions", {"hostProcess": True}, "hostProcess"),
    (f"{POD_CONTEXT}/seLinuxOptions", {"type": "spc_t"}, "seLinuxOptions"),
    (f"{POD_CONTEXT}/appArmorProfile", {"type": "Unconfined"}, "appArmorProfile"),
    (POD_CONTEXT, {"runAsNonRoot": True}, "container main: no seccompProfile"),
    (
        POD_CONTEXT,
        {"seccompProfile": {"type": "RuntimeDefault"}},
        "container main: runAsNonRoot is not true",
    ),
    (f"{CONTEXT}/runAsNonRoot", False, "container main: runAsNonRoot is false"),
    (f"{CONTEXT}/runAsUser", 0, "container main: runAsUser 0"),
    (f"{CONTEXT}/privileged", True, "container main: privileged"),
    (f"{CONTEXT}/procMount", "Unmasked", "container main: procMount"),
    (f"{CONTEXT}/seLinuxOptions", {"user": "root"}, "container main: seLinuxOptions"),
    (f"{CONTEXT}/appArmorProfile", {"type": "Unconfined"}, "container main: appArmorProfile"),
    (f"{CONTEXT}/seccompProfile", {"type": "Unconfined"}, "container main: seccompProfile"),
    (f"{CONTEXT}/windowsOptions", {"hostProcess": True}, "container main: hostProcess"),
    (
        f"{CONTEXT}/allowPrivilegeEscalation",
        True,
        "container main: allowPrivilegeEscalation is not false",
    ),
    (f"{CONTEXT}/capabilities", {}, "container main: capabilities are not dropped"),
    (f"{CONTEXT}/capabilities/add", ["SYS_PTRACE"], "container main: capabilities are added"),
    (f"{CONTAINER}/ports", [{"containerPort": 80, "hostPort": 80}], "container main: hostPort"),
    (f"{CONTAINER}/livenessProbe", HTTP, "container main: httpGet names a host"),
    (f"{CONTAINER}/lifecycle", {"preStop": HTTP}, "container main: httpGet names a host"),
    (
        f"{CONTAINER}/readinessProbe",
        {"tcpSocket": {"port": 80, "host": "192.0.2.9"}},
        "container main: tcpSocket names a host",
    ),
]


@pytest.mark.parametrize(("path", "new", "problem"), VIOLATIONS, ids=[v[2] for v in VIOLATIONS])
def test_restricted_catches(path: str, new: Any, problem: str) -> None:
    assert restricted([pod()]) == []
    found = restricted([changed(pod(), path, new)])
    assert f"Pod/pod: {problem}" in found


def test_restricted_looks_at_init_containers() -> None:
    bare = {"name": "init", "image": "image"}
    assert len(restricted([pod(initContainers=[bare])])) == 2


@pytest.mark.parametrize(
    "kind", ["Deployment", "StatefulSet", "CronJob", "TrainingRuntime", "ServingRuntime"]
)
def test_restricted_catches_in_every_kind(rendered: Rendered, kind: str) -> None:
    """One forbidden field in the rendered object itself."""
    objects = deepcopy([value for value in rendered["everything"] if value["kind"] == kind])
    assert objects and restricted(objects) == []
    for each in all_pods(objects):
        each.containers[0]["securityContext"]["privileged"] = True
    assert len(restricted(objects)) == len(objects)


def named(kind: str, **fields: Any) -> Object:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "dgr"}, **fields}


def role(**rule: Any) -> Object:
    return named(
        "Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]} | rule]
    )


def way(**rule: Any) -> Object:
    whole = {"to": [{"podSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": 1}]} | rule
    return named("NetworkPolicy", spec={"podSelector": {"matchLabels": {}}, "egress": [whole]})


DENY = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
LABELS = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}
NAMESPACE = {"kind": "Namespace", "metadata": {"name": "dgr", "labels": LABELS}}
BINDING = named(
    "RoleBinding", roleRef={"kind": "Role"}, subjects=[{"kind": "ServiceAccount", "name": "x"}]
)
CAUGHT: list[tuple[Policy, list[Object], list[Object]]] = [
    (namespaces_enforce, [NAMESPACE], [changed(NAMESPACE, "metadata/labels", {})]),
    (least_rights, [role()], [role(verbs=["*"])]),
    (least_rights, [role()], [role(resources=["*"])]),
    (least_rights, [role()], [role(apiGroups=["*"])]),
    (least_rights, [role()], [role(resources=["secrets"])]),
    (least_rights, [role()], [role(resources=["pods/exec"])]),
    (least_rights, [role()], [role(verbs=["impersonate"])]),
    (least_rights, [BINDING], [changed(BINDING, "roleRef/kind", "ClusterRole")]),
    (least_rights, [role()], [named("ClusterRole", rules=[])]),
    (pinned, [pod()], [changed(pod(), f"{CONTAINER}/image", "registry/image:1.0")]),
    (pinned, [pod()], [changed(pod(), f"{CONTAINER}/image", "registry/image@sha256:0")]),
    (bounded, [pod()], [changed(pod(), f"{CONTAINER}/resources", {})]),
    (bounded, [pod()], [changed(pod(), f"{CONTAINER}/resources/limits", {"cpu": "1"})]),
    (denied_by_default, [pod(), named("NetworkPolicy", spec=DENY)], [pod()]),
    (
        denied_by_default,
        [NAMESPACE, named("NetworkPolicy", spec=DENY)],
        [NAMESPACE, named("NetworkPolicy", spec={**DENY, "policyTypes": ["Ingress"]})],
    ),
    (
        denied_by_default,
        [NAMESPACE, named("NetworkPolicy", spec=DENY)],
        [NAMESPACE, named("NetworkPolicy", spec={**DENY, "egress": [{}]})],
    ),
    (narrow_network, [way()], [way(to=[])]),
    (narrow_network, [way()], [way(ports=[])]),
    (narrow_network, [way()], [way(to=[{"podSelector": {}}])]),
    (narrow_network, [way()], [way(to=[{"ipBlock": {"cidr": "0.0.0.0/0"}}])]),
    (
        no_idle_tokens,
        [named("ServiceAccount", automountServiceAccountToken=True), BINDING],
        [named("ServiceAccount", automountServiceAccountToken=True)],
    ),
    (
        no_idle_tokens,
        [named("ServiceAccount", automountServiceAccountToken=False)],
        [named("ServiceAccount")],
    ),
    (no_idle_tokens, [pod()], [pod(automountServiceAccountToken=None)]),
    (
        no_secret_values,
        [named("Secret")],
        [named("Secret", stringData={"password": "x"})],
    ),
    (
        no_secret_values,
        [named("ConfigMap", data={"URL": "postgresql://host/db"})],
        [named("ConfigMap", data={"URL": "postgresql://me:word@host/db"})],
    ),
    (
        no_secret_values,
        [named("ConfigMap", data={"REGION": "x"})],
        [named("ConfigMap", data={"AWS_SECRET_ACCESS_KEY": "x"})],
    ),
    (
        no_secret_values,
        [pod()],
        [changed(pod(), f"{CONTAINER}/env", [{"name": "HF_TOKEN", "value": "x"}])],
    ),
    (whole, [pod()], [pod(serviceAccountName="nobody")]),
    (
        whole,
        [pod()],
        [changed(pod(), f"{CONTAINER}/envFrom", [{"configMapRef": {"name": "none"}}])],
    ),
    (whole, [pod()], [pod(), named("Service", spec={"selector": {"app": "none"}})]),
]


@pytest.mark.parametrize(("policy", "sound", "doctored"), CAUGHT)
def test_a_policy_catches(policy: Policy, sound: list[Object], doctored: list[Object]) -> None:
    assert policy(sound) == []
    assert len(policy(doctored)) >= 1


def test_every_policy_has_a_doctored_object() -> None:
    assert {restricted, *(case[0] for case in CAUGHT)} == {*POLICIES, pinned, no_secret_values}


EXPORTED = {
    # kube-state-metrics
    "kube_pod_status_phase",
    "kube_job_status_failed",
    "kube_cronjob_status_last_successful_time",
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas_available",
    # the kubelet
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
}


def test_alerts_stand_on_metrics_and_objects_that_exist(rendered: Rendered) -> None:
    objects = rendered["everything"]
    (rules,) = [value for value in objects if value["kind"] == "PrometheusRule"]
    names = {value["metadata"]["name"] for value in objects if value["kind"] == "CronJob"}
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert len(alerts) == len({rule["alert"] for rule in alerts}) >= 8
    for rule in alerts:
        assert set(re.findall(r"(\w+)\{", rule["expr"])) <= EXPORTED, rule["alert"]
        for job in re.findall(r'job_name=~"([a-z-]+)-\.\*"', rule["expr"]):
            assert job in names, rule["alert"]
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label in rule["expr"] or label == "persistentvolumeclaim"
    pipeline = yaml.safe_load((ROOT / "pipelines/align.yaml").read_text())["pipelineInfo"]["name"]
    assert f'pod=~"{pipeline}-.*"' in alerts[0]["expr"]

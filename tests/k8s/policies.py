"""What every object that we deploy must keep to. Each policy gives one sentence a violation.

Pod Security's restricted profile is written out field by field, as the standard lists it:
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator

from k8s.manifests import (
    Object,
    PodTemplate,
    all_pods,
    images,
    is_pinned,
    name_of,
    namespace_of,
)

Policy = Callable[[list[Object]], list[str]]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
           "projected", "secret"}  # fmt: skip
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
APPARMOR = {None, "RuntimeDefault", "Localhost"}
SECCOMP = {"RuntimeDefault", "Localhost"}
DANGEROUS_VERBS = {"*", "escalate", "bind", "impersonate"}
DANGEROUS_RESOURCES = {"*", "secrets", "pods/exec", "pods/attach", "serviceaccounts/token", "nodes"}
SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.I)
SECRET_VALUE = re.compile(
    r"://[^/@\s:]+:[^/@\s]+@|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|hf_[A-Za-z0-9]{20,}"
)


def restricted(objects: list[Object]) -> list[str]:
    """Pod Security `restricted`, for the pods of all kinds."""
    return [
        f"{pod.owner}: {problem}"
        for pod in all_pods(objects)
        for problem in [*_of_pod(pod), *_of_containers(pod)]
    ]


def _of_pod(pod: PodTemplate) -> Iterator[str]:
    spec, context = pod.spec, pod.spec.get("securityContext") or {}
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is a {', '.join(kinds - VOLUMES)}"
    for sysctl in context.get("sysctls") or ():
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_context(context)


def _of_containers(pod: PodTemplate) -> Iterator[str]:
    shared = pod.spec.get("securityContext") or {}
    for container in pod.containers:
        context = container.get("securityContext") or {}
        problems = [*_of_context(context), *_must_be_set(context, shared), *_of_ports(container)]
        yield from (f"container {container['name']}: {problem}" for problem in problems)


def _of_context(context: Object) -> Iterator[str]:
    """What neither a pod's nor a container's security context may say."""
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    linux = context.get("seLinuxOptions") or {}
    if linux.get("type", "") not in SELINUX or linux.get("user") or linux.get("role"):
        yield "seLinuxOptions"
    if (context.get("appArmorProfile") or {}).get("type") not in APPARMOR:
        yield "appArmorProfile"
    seccomp = context.get("seccompProfile")
    if seccomp is not None and seccomp.get("type") not in SECCOMP:
        yield "seccompProfile"
    if context.get("runAsUser") == 0:
        yield "runAsUser 0"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    if context.get("privileged"):
        yield "privileged"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"


def _must_be_set(context: Object, shared: Object) -> Iterator[str]:
    if context.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if "seccompProfile" not in context and "seccompProfile" not in shared:
        yield "no seccompProfile"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "capabilities are not dropped"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"


def _of_ports(container: Object) -> Iterator[str]:
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "hostPort"
    lifecycle = container.get("lifecycle") or {}
    handlers = [
        container.get(f"{probe}Probe") or {} for probe in ("startup", "readiness", "liveness")
    ]
    handlers += [lifecycle.get(hook) or {} for hook in ("postStart", "preStop")]
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if (handler.get(action) or {}).get("host"):
                yield f"{action} names a host"


def namespaces_enforce(objects: list[Object]) -> list[str]:
    found = []
    for value in objects:
        if value["kind"] == "Namespace":
            labels = value["metadata"].get("labels") or {}
            found += [
                f"{name_of(value)}: {mode} is not restricted"
                for mode in ("enforce", "audit", "warn")
                if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted"
            ]
    return found


def least_rights(objects: list[Object]) -> list[str]:
    """No wildcard, no Secret, no way into other pods, nothing cluster-wide."""
    found = []
    for value in objects:
        kind = value["kind"]
        if kind in ("ClusterRole", "ClusterRoleBinding"):
            found.append(f"{name_of(value)}: holds in the whole cluster")
        if kind == "RoleBinding" and value["roleRef"]["kind"] != "Role":
            found.append(f"{name_of(value)}: binds a {value['roleRef']['kind']}")
        for rule in (value.get("rules") or ()) if kind in ("Role", "ClusterRole") else ():
            found += [f"{name_of(value)}: {problem}" for problem in _of_rule(rule)]
    return found


def _of_rule(rule: Object) -> Iterator[str]:
    if "*" in rule.get("apiGroups", ()):
        yield "all API groups"
    yield from (f"verb {verb}" for verb in rule["verbs"] if verb in DANGEROUS_VERBS)
    for resource in rule.get("resources", ()):
        if resource in DANGEROUS_RESOURCES or resource.endswith("/*"):
            yield f"right on {resource}"


def pinned(objects: list[Object]) -> list[str]:
    return [
        f"image {image} has no digest" for image in sorted(images(objects)) if not is_pinned(image)
    ]


def bounded(objects: list[Object]) -> list[str]:
    """Every container states what it needs and may take."""
    return [
        f"{pod.owner}: container {container['name']} has no {part}.{resource}"
        for pod in all_pods(objects)
        for container in pod.containers
        for part in ("requests", "limits")
        for resource in ("cpu", "memory")
        if resource not in ((container.get("resources") or {}).get(part) or {})
    ]


def denied_by_default(objects: list[Object]) -> list[str]:
    """A namespace with pods of ours has a policy that selects all pods and lets nothing pass."""
    shut = {
        namespace_of(value)
        for value in objects
        if value["kind"] == "NetworkPolicy"
        and value["spec"]["podSelector"] == {}
        and set(value["spec"].get("policyTypes") or ()) == {"Ingress", "Egress"}
        and not value["spec"].get("ingress")
        and not value["spec"].get("egress")
    }
    busy = {pod.namespace for pod in all_pods(objects)}
    made = {value["metadata"]["name"] for value in objects if value["kind"] == "Namespace"}
    return [f"namespace {name} has no default-deny" for name in sorted((busy | made) - shut)]


def narrow_network(objects: list[Object]) -> list[str]:
    """What a policy opens has a port and a peer; no peer is everybody."""
    found = []
    for value in objects:
        if value["kind"] != "NetworkPolicy":
            continue
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in value["spec"].get(direction) or ():
                found += [f"{name_of(value)}: {each}" for each in _of_way(rule, peers, value)]
    return found


def _of_way(rule: Object, peers: str, policy: Object) -> Iterator[str]:
    if not rule.get(peers):
        yield f"no {peers}: everybody"
    among_themselves = [{"podSelector": policy["spec"]["podSelector"]}]
    if not rule.get("ports") and rule.get(peers) != among_themselves:
        yield "no ports: all of them"
    for peer in rule.get(peers) or ():
        selectors = [peer[key] for key in ("podSelector", "namespaceSelector") if key in peer]
        if any(not selector for selector in selectors):
            yield "an empty selector: everybody"
        block = peer.get("ipBlock") or {}
        if block.get("cidr", "").endswith("/0") and not block.get("except"):
            yield f"{block['cidr']}: the whole world"


def no_idle_tokens(objects: list[Object]) -> list[str]:
    """A token of the API is mounted only where its account has a right."""
    bound = {
        (subject.get("namespace", namespace_of(value)), subject["name"])
        for value in objects
        if value["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in value.get("subjects") or ()
        if subject["kind"] == "ServiceAccount"
    }
    mounts = {
        (namespace_of(value), value["metadata"]["name"]): value.get("automountServiceAccountToken")
        for value in objects
        if value["kind"] == "ServiceAccount"
    }
    found = [
        f"ServiceAccount/{name} in {namespace} mounts a token and has no right"
        for (namespace, name), mount in sorted(mounts.items())
        if mount is not False and (namespace, name) not in bound
    ]
    for pod in all_pods(objects):
        account = (pod.namespace, pod.spec.get("serviceAccountName", "default"))
        mount = pod.spec.get("automountServiceAccountToken", mounts.get(account))
        # A ServingRuntime names no account; the InferenceService does.
        if mount is not False and account not in bound and "/dgr-vllm" not in pod.owner:
            found.append(f"{pod.owner} mounts a token of {account[1]}, which has no right")
    return found


def no_secret_values(objects: list[Object]) -> list[str]:
    """Secrets are named, never written down."""
    found = []
    for value in objects:
        if value["kind"] == "Secret" and (value.get("data") or value.get("stringData")):
            found.append(f"{name_of(value)} holds its values")
        elif SECRET_VALUE.search(json.dumps(value)):
            found.append(f"{name_of(value)} holds what looks like a secret")
        if value["kind"] == "ConfigMap":
            named = [key for key in value.get("data") or {} if SECRET_NAME.search(key)]
            found += [f"{name_of(value)}: key {key} looks like a secret" for key in named]
    for pod in all_pods(objects):
        found += [
            f"{pod.owner}: {each['name']} has its value written down"
            for container in pod.containers
            for each in container.get("env") or ()
            if SECRET_NAME.search(each["name"]) and "value" in each
        ]
    return found


def whole(objects: list[Object]) -> list[str]:
    """What objects name is there: accounts, ConfigMaps, claims, and pods behind selectors."""
    there = {(value["kind"], namespace_of(value), value["metadata"]["name"]) for value in objects}
    found = [
        f"{pod.owner} names {kind} {name}, which is not there"
        for pod in all_pods(objects)
        for kind, name in _named_by(pod)
        if (kind, pod.namespace, name) not in there
    ]
    for value in objects:
        if value["kind"] in ("Service", "PodDisruptionBudget"):
            selector = value["spec"]["selector"]
            labels = selector.get("matchLabels", selector)
            if not _selects(labels, namespace_of(value), objects):
                found.append(f"{name_of(value)} selects no pod")
    return found


RUN_CONFIG = "dgr-run"
"""The one ConfigMap that a user makes: the config of the run."""


def _named_by(pod: PodTemplate) -> Iterator[tuple[str, str]]:
    if "serviceAccountName" in pod.spec:
        yield "ServiceAccount", pod.spec["serviceAccountName"]
    for container in pod.containers:
        for source in container.get("envFrom") or ():
            if "configMapRef" in source and not source["configMapRef"].get("optional"):
                yield "ConfigMap", source["configMapRef"]["name"]
    for volume in pod.spec.get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        if "configMap" in volume and volume["configMap"]["name"] != RUN_CONFIG:
            yield "ConfigMap", volume["configMap"]["name"]


def _selects(labels: dict[str, str], namespace: str, objects: Iterable[Object]) -> bool:
    return any(
        labels.items() <= pod.labels.items() and pod.namespace == namespace
        for pod in all_pods(objects)
    )


POLICIES: tuple[Policy, ...] = (
    restricted,
    namespaces_enforce,
    least_rights,
    bounded,
    denied_by_default,
    narrow_network,
    no_idle_tokens,
    whole,
)
"""For every overlay. Those for production also are `pinned` and hold `no_secret_values`."""

"""A registered model as a KServe InferenceService: deployed, asked, and taken back if it fails.

    plan = Deployment(model="nano", version="3", bundle=bundle, uri="s3://...", actor="ada")
    outcome = deploy(cluster, plan, config, probes=probes(config.probes, suites), seconds=900)
    outcome.kept                                # False: rolled back, outcome.problems say why
    check(cluster, registry, "champion", config, probes(config.probes, suites)).problems

The weights are named by the digest that the registry's journal holds, never by an alias, so what
is served does not change by itself.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from dgr.errors import UserError
from dgr.registry import Registry, State
from dgr.registry.bundle import ADAPTER, Bundle, bundle_key
from dgr.serving import Probe, ProbeReport, ServingConfig, ask_all
from k8s.client import INFERENCE_SERVICE, Cluster, Conflict, Object
from k8s.signals import interrupts

VERSION, BUNDLE, DECISION, ACTOR = "dgr/version", "dgr/bundle", "dgr/decision", "dgr/actor"
TAGGED = "serving.kserve.io/enable-tag-routing"
"""Gives the newest revision a URL of its own, whatever its share of the traffic."""
MODELS = "/mnt/models"
SERVED = (State.APPROVED, State.CHAMPION, State.PREVIOUS)
"""States of a version that users may reach."""
_FAILED = {"BlockedByFailedLoad", "InvalidSpec"}
_FAILED_REASONS = {"RevisionFailed", "ProgressDeadlineExceeded", "ContainerMissing"}
"""Reasons of conditions that no waiting mends; others pass by while servers start."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Deployment:
    """What is deployed, checked against the registry."""

    model: str
    version: str
    bundle: Bundle
    uri: str
    """Of the bundle: s3://bucket/.../models/<model>/<digest>."""
    actor: str
    canary: int | None = None
    """Share of the traffic in percent; None: all of it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a deployment, or what a check of it found."""

    service: str
    kept: bool
    """The model that was asked for is served, and answers as it should."""
    problems: tuple[str, ...] = ()
    report: ProbeReport | None = None


def registered(registry: Registry, version: str, actor: str) -> Deployment:
    """A version that may be served, its bundle read byte by byte and its signature checked."""
    number, found = registry.version(registry.history(), version)
    if found.state not in SERVED:
        states = ", ".join(SERVED)
        raise UserError(
            f"{registry.name} v{number} is {found.state}; only what is {states} can be deployed"
        )
    uri = registry.store.uri_of(bundle_key(registry.name, found.bundle))
    if not uri.startswith("s3://"):
        raise UserError(
            f"{uri} cannot be reached from a cluster; set registry.store to s3://bucket/prefix "
            "and register there"
        )
    registry.check_source(number, found)
    return Deployment(registry.name, number, registry.bundle(found), uri, actor)


def service_name(model: str, config: ServingConfig) -> str:
    """`serving.service`, or the model's name as Kubernetes allows it."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    name = config.service or (plain if plain[:1].isalpha() else f"model-{plain}")
    return name[:50].rstrip("-")


def inference_service(plan: Deployment, config: ServingConfig, namespace: str) -> Object:
    """The InferenceService of a deployment."""
    name = service_name(plan.model, config)
    predictor: Object = {
        "minReplicas": config.replicas,
        "model": _model(name, plan, config),
    }
    optional: Object = {
        "maxReplicas": config.max_replicas,
        "serviceAccountName": config.service_account,
        "nodeSelector": config.node_selector or None,
        "tolerations": [each.model_dump(exclude_none=True) for each in config.tolerations] or None,
        "canaryTrafficPercent": plan.canary,
        "storageUris": _storage_uris(plan, config),
    }
    predictor |= {field: value for field, value in optional.items() if value is not None}
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                **config.labels,
                "app.kubernetes.io/managed-by": "dgr",
                "app.kubernetes.io/name": name,
                VERSION: plan.version,
            },
            "annotations": {
                **config.annotations,
                **({TAGGED: "true"} if plan.canary is not None else {}),
                VERSION: plan.version,
                BUNDLE: plan.bundle.digest,
                DECISION: plan.bundle.decision_digest,
                ACTOR: plan.actor,
            },
        },
        "spec": {"predictor": predictor},
    }


def _model(name: str, plan: Deployment, config: ServingConfig) -> Object:
    args = [f"--served-model-name={name}"]
    if config.base:
        args = [
            f"--model={MODELS}/base",
            f"--served-model-name={name}-base",
            "--enable-lora",
            f"--max-lora-rank={config.max_lora_rank}",
            f"--lora-modules={name}={MODELS}/{ADAPTER}",
        ]
    model: Object = {
        "modelFormat": {"name": config.model_format},
        "runtime": config.runtime,
        "args": [*args, *config.args],
    }
    if not config.base:
        model["storageUri"] = plan.uri
    if config.resources:
        resources = dict(config.resources)
        model["resources"] = {"requests": resources, "limits": dict(resources)}
    if config.env:
        model["env"] = [{"name": key, "value": value} for key, value in config.env.items()]
    return model


def _storage_uris(plan: Deployment, config: ServingConfig) -> list[Object] | None:
    """Base and adapter side by side; None where the bundle's own weights are served."""
    if not config.base:
        return None
    if not any(name.startswith(f"{ADAPTER}/") for name in plan.bundle.manifest.files):
        raise UserError(
            f"{plan.model} v{plan.version} has no adapter to put on serving.base; leave it out"
        )
    return [
        {"uri": config.base, "mountPath": f"{MODELS}/base"},
        {"uri": f"{plan.uri}/{ADAPTER}", "mountPath": f"{MODELS}/{ADAPTER}"},
    ]


def deploy(
    cluster: Cluster,
    plan: Deployment,
    config: ServingConfig,
    *,
    probes: Sequence[Probe],
    seconds: float,
    force: bool = False,
    say: Say = print,
) -> Outcome:
    """Put a model on the cluster, and keep it only if it gets ready and answers the probes.

    Otherwise, also after SIGTERM or Ctrl-C, the service is what it was before, or gone if it
    was new. `force` overrules others who own fields of the service.
    """
    body = inference_service(plan, config, cluster.namespace)
    name = body["metadata"]["name"]
    with interrupts(f"and service {name} is what it was before"):
        before, after = _put(cluster, body, plan, force)
        say(f"{name}: {'changed' if before else 'created'}, {plan.model} v{plan.version}")
        with _taken_back_on_errors(cluster, before, after, seconds, say):
            ready = wait_ready(cluster, after, seconds)
            report = ask_all(
                _url(ready, config, plan.canary is not None), name, probes, config.probes
            )
            for line in report.lines():
                say(f"{name}: {line}")
    if not report.problems:
        return Outcome(name, True, report=report)
    said = take_back(cluster, before, after, seconds)
    say(f"{name}: {said}")
    return Outcome(name, False, (*report.problems, said), report)


def check(
    cluster: Cluster,
    registry: Registry,
    version: str,
    config: ServingConfig,
    probes: Sequence[Probe],
) -> Outcome:
    """Whether the service has drifted: from the registry's version, or in what it answers.

    Nothing is changed. A service with a canary is asked as a whole, as its users ask it.
    """
    name = service_name(registry.name, config)
    number, found = registry.version(registry.history(), version)
    service = cluster.get(INFERENCE_SERVICE, name)
    if service is None:
        return Outcome(name, False, ("it is not deployed",))
    uri = registry.store.uri_of(bundle_key(registry.name, found.bundle))
    problems = _drifted(service, f"{registry.name} v{number}", uri)
    if "observedGeneration" not in service.get("status", {}) or not _is_ready(service):
        return Outcome(name, False, (*problems, "no server of its newest revision is ready"))
    try:
        report = ask_all(_url(service, config), name, probes, config.probes)
    except UserError as error:
        return Outcome(name, False, (*problems, str(error)))
    problems += report.problems
    return Outcome(name, not problems, tuple(problems), report)


def _drifted(service: Object, wanted: str, uri: str) -> list[str]:
    """What else than the weights at `uri` it serves; while a canary is tried, anything may be."""
    predictor = service["spec"]["predictor"]
    if predictor.get("canaryTrafficPercent") is not None:
        return []
    sources = [predictor.get("model", {}).get("storageUri")]
    sources += [each["uri"] for each in predictor.get("storageUris", [])]
    if uri in sources or f"{uri}/{ADAPTER}" in sources:
        return []
    served = ", ".join(each for each in sources if each) or "no weights of a store"
    return [f"it serves {served}, not {wanted} at {uri}"]


def _put(
    cluster: Cluster, body: Object, plan: Deployment, force: bool
) -> tuple[Object | None, Object]:
    """The service before and after; whoever changes it in between makes us look again."""
    name = body["metadata"]["name"]
    while True:
        before = cluster.get(INFERENCE_SERVICE, name)
        _check_canary(before, plan)
        body = deepcopy(body)
        try:
            if before:
                before = cluster.adopted(INFERENCE_SERVICE, before)
                body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            return before, cluster.apply(INFERENCE_SERVICE, body, force=force)
        except Conflict as error:
            if error.owners:
                owners = ", ".join(sorted(error.owners))
                raise UserError(
                    f"{error}; {owners} owns those fields of {name}: change them there, "
                    "or overrule it with --force"
                ) from None


def _check_canary(before: Object | None, plan: Deployment) -> None:
    if plan.canary is None:
        return
    if before is None:
        raise UserError(f"{plan.model} is not deployed yet: a canary needs a model beside it")
    mode = before.get("status", {}).get("deploymentMode", "")
    if mode in ("RawDeployment", "Standard"):
        raise UserError(
            f"{before['metadata']['name']} is deployed in mode {mode}, which cannot split traffic; "
            "use KServe's Knative mode or deploy without --canary"
        )


def wait_ready(cluster: Cluster, wanted: Object, seconds: float) -> Object:
    """Wait until the servers of this generation are ready; `UserError` as soon as they fail."""
    name, generation = wanted["metadata"]["name"], wanted["metadata"]["generation"]
    why = "no condition was set"
    for now in cluster.watch(INFERENCE_SERVICE, name, seconds):
        if now is None:
            raise UserError(f"{name} was deleted while it got ready")
        if now["metadata"]["generation"] > generation:
            raise UserError(f"{name} was changed by somebody else while it got ready")
        if now.get("status", {}).get("observedGeneration") != generation:
            continue
        if problem := failure(now):
            raise UserError(f"{name} failed: {problem}")
        if _is_ready(now):
            return now
        why = _waiting(now)
    raise UserError(f"{name} was not ready after {seconds:.0f} s: {why}")


def _is_ready(service: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in service["status"].get("conditions", [])}
    revisions = service["status"].get("components", {}).get("predictor", {})
    newest = revisions.get("latestCreatedRevision")
    rolled = newest is None or newest == revisions.get("latestReadyRevision")
    return conditions.get("Ready") == "True" and rolled


def failure(service: Object) -> str | None:
    """Why the servers will never get ready; None while they still may."""
    status = service["status"]
    model = status.get("modelStatus", {})
    if model.get("transitionStatus") in _FAILED:
        info = model.get("lastFailureInfo", {})
        reason = info.get("reason") or model["transitionStatus"]
        return f"{reason}: {info.get('message') or 'no message given'}"
    for each in status.get("conditions", []):
        if each["status"] == "False" and each.get("reason") in _FAILED_REASONS:
            return f"{each['reason']}: {each.get('message') or 'no message given'}"
    return None


def _waiting(service: Object) -> str:
    waiting = [
        f"{each['type']} is {each['status']}" + (f" ({each['reason']})" if "reason" in each else "")
        for each in service["status"].get("conditions", [])
        if each["status"] != "True"
    ]
    return ", ".join(waiting) or "the newest revision is not"


def _url(service: Object, config: ServingConfig, canary: bool = False) -> str:
    """Where the servers answer: a canary at the URL of its own revision."""
    status = service["status"]
    url = config.url or status.get("url")
    if canary and not config.url:
        traffic = status.get("components", {}).get("predictor", {}).get("traffic", [])
        url = next((each.get("url") for each in traffic if each.get("latestRevision")), None)
    if not url:
        raise UserError(
            f"{service['metadata']['name']} names no URL to ask the new model at; set serving.url"
        )
    return str(url).rstrip("/") + config.api_path.rstrip("/")


@contextmanager
def _taken_back_on_errors(
    cluster: Cluster, before: Object | None, after: Object, seconds: float, say: Say
) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {take_back(cluster, before, after, seconds)}") from None
    except BaseException:  # also a signal: a model that nobody asked does not stay
        say(f"{after['metadata']['name']}: {take_back(cluster, before, after, 0)}")
        raise


def take_back(cluster: Cluster, before: Object | None, after: Object, seconds: float) -> str:
    """Make the service what it was before; what was done, in words.

    A service that somebody else has changed since is left to him.
    """
    name = after["metadata"]["name"]
    while (now := cluster.get(INFERENCE_SERVICE, name)) is not None:
        if now["metadata"]["generation"] != after["metadata"]["generation"]:
            return "somebody else has changed the service since, so it was left as it is"
        if before is None:
            cluster.delete(INFERENCE_SERVICE, name)
            return "it was new and has been removed"
        try:
            restored = cluster.replace(INFERENCE_SERVICE, _restored(now, before))
        except Conflict:
            continue
        version = before["metadata"].get("annotations", {}).get(VERSION)
        return f"rolled back to {f'v{version}' if version else 'what was there'}" + _settled(
            cluster, restored, seconds
        )
    return "it is gone"


def _settled(cluster: Cluster, restored: Object, seconds: float) -> str:
    if not seconds:
        return ""
    try:
        wait_ready(cluster, restored, seconds)
    except UserError as error:
        return f", but {error}"
    return ", which is ready"


def _restored(now: Object, before: Object) -> Object:
    """The object of now with the spec, labels and annotations of before."""
    body = deepcopy(now)
    body["spec"] = deepcopy(before["spec"])
    body["metadata"].pop("managedFields", None)
    for field in ("labels", "annotations"):
        body["metadata"][field] = dict(before["metadata"].get(field) or {})
    return body


def canary_of(cluster: Cluster, model: str, config: ServingConfig) -> str:
    """The version that the service tries as a canary."""
    name = service_name(model, config)
    found = cluster.get(INFERENCE_SERVICE, name)
    percent = found and found["spec"]["predictor"].get("canaryTrafficPercent")
    if found is None or percent is None:
        raise UserError(f"{name} has no canary to promote; deploy one with --canary PERCENT")
    return str(found["metadata"]["annotations"][VERSION])


def describe(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON."""
    report = outcome.report
    return {
        "service": outcome.service,
        "kept": outcome.kept,
        "problems": list(outcome.problems),
        "probes": report.lines() if report else [],
    }

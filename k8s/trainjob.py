"""The SFT step as a TrainJob of Kubeflow Trainer: several nodes, from a store to a store.

    train_on_cluster(cluster, settings, sft, model=model, arm=arm, out=out, seed=0)
    trainer(options.get("train_job"), here=train)(sft, model=model, arm=arm, out=out, seed=0)

What is trained decides the job's name, so the same command follows a job that is under way, goes
on from its last checkpoint when it was stopped, and fetches the result when it is done.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dgr.cluster import TrainJobConfig
from dgr.errors import Interrupted, UserError
from dgr.files import canonical_json, sha256_text
from dgr.settings import parse_settings
from dgr.sft.config import DistributedJob, SftConfig
from dgr.steps import input_digest, summary_of, verify
from dgr.storage import Store, open_store
from k8s.client import POD, TRAIN_JOB, Cluster, ClusterError, Object, connect
from k8s.signals import interrupts

SPEC = "dgr/spec"
"""Annotation: digest of all that the job was made from."""
QUEUE = "kueue.x-k8s.io/queue-name"
JOBSET = "jobset.sigs.k8s.io/jobset-name"
INDEX = "batch.kubernetes.io/job-completion-index"
NODE = "node"
"""What Trainer's torch runtimes call the replicated job and the container that train."""
WORK = "/work"
DAY = 86_400.0
LOG_PAUSE = 1.0

Say = Callable[[str], None]


class Train(Protocol):
    """The SFT step, wherever it computes."""

    def __call__(
        self, config: SftConfig, *, model: Path, arm: Path, out: Path, seed: int
    ) -> None: ...


@dataclass(frozen=True)
class Plan:
    """A job that is to be."""

    name: str
    spec: str
    job: DistributedJob


def plan_job(
    config: TrainJobConfig, sft: SftConfig, *, model: str, arm: str, digests: str, seed: int
) -> Plan:
    """The job for these inputs. `digests` stands for their content."""
    if problem := config.undealt(sft.batch_size, sft.micro_batch_size):
        raise UserError(problem)
    made_from = [config.model_dump(mode="json"), sft.model_dump(mode="json"), digests, seed]
    spec = sha256_text(canonical_json(made_from))
    name = f"{config.name}-{spec[:10]}"
    job = DistributedJob(
        place=f"{config.store.rstrip('/')}/jobs/{spec}",
        model=model,
        arm=arm,
        sft=sft.model_copy(update={"device": "cuda" if config.gpus else "cpu"}),
        seed=seed,
        sharded=sft.method == "full" and config.gpus > 0,
    )
    return Plan(name, spec, job)


def train_job(plan: Plan, config: TrainJobConfig, namespace: str) -> Object:
    """The TrainJob."""
    resources = dict(config.resources)
    if config.gpus:
        resources["nvidia.com/gpu"] = str(config.gpus)
    trainer: Object = {
        "command": ["torchrun", "-m", "dgr.sft.distributed"],
        "args": [canonical_json(plan.job.model_dump(mode="json"))],
        "numNodes": config.nodes,
        "numProcPerNode": config.processes,
        "env": _env(config),
    }
    if config.image:
        trainer["image"] = config.image
    if resources:
        trainer["resourcesPerNode"] = {"requests": resources, "limits": dict(resources)}
    labels = {"app.kubernetes.io/managed-by": "dgr"}
    labels |= {QUEUE: config.queue} if config.queue else {}
    return {
        "apiVersion": TRAIN_JOB.api_version,
        "kind": TRAIN_JOB.kind,
        "metadata": {
            "name": plan.name,
            "namespace": namespace,
            "labels": {**config.labels, **labels},
            "annotations": {SPEC: plan.spec},
        },
        "spec": {
            "runtimeRef": {"name": config.runtime, "kind": config.runtime_kind},
            "trainer": trainer,
            "activeDeadlineSeconds": config.deadline_s,
            "runtimePatches": [_patch(config)],
        },
    }


def _env(config: TrainJobConfig) -> list[Object]:
    plain = {**config.env, "DGR_WORK": WORK, "HF_HUB_OFFLINE": "1"}
    env: list[Object] = [{"name": name, "value": value} for name, value in plain.items()]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if config.secret else ():
        secret = {"name": config.secret, "key": name}
        env.append({"name": name, "valueFrom": {"secretKeyRef": secret}})
    return env


def _patch(config: TrainJobConfig) -> Object:
    """What the runtime does not know of pods: where they may run, as whom, and with which disks."""
    pod: Object = {
        "terminationGracePeriodSeconds": config.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "work", "emptyDir": {}},
        ],
        "containers": [
            {
                "name": NODE,
                "volumeMounts": [
                    {"name": "shm", "mountPath": "/dev/shm"},
                    {"name": "work", "mountPath": WORK},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    optional: Object = {
        "nodeSelector": config.node_selector,
        "tolerations": [each.model_dump(exclude_none=True) for each in config.tolerations],
        "serviceAccountName": config.service_account,
    }
    pod |= {field: value for field, value in optional.items() if value}
    job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    patch = {"template": {"spec": {"replicatedJobs": [job]}}}
    return {"manager": "dgr", "trainingRuntimeSpec": patch}


def trainer(job: dict[str, Any] | None, *, here: Train) -> Train:
    """What fine-tunes: `here`, or the nodes of a TrainJob that a run's settings ask for."""
    if job is None:
        return here
    config = parse_settings(TrainJobConfig, job, "cluster.training")
    return partial(train_on_cluster, connect(config.namespace or ""), config)


def train_on_cluster(
    cluster: Cluster,
    config: TrainJobConfig,
    sft: SftConfig,
    *,
    model: Path,
    arm: Path,
    out: Path,
    seed: int,
    say: Say = print,
) -> None:
    """Fine-tune on the cluster; `out` is then what `dgr.sft.train` would have written.

    On Ctrl-C or SIGTERM the job is deleted (its pods leave a checkpoint) and `Interrupted` raised.
    """
    verify(arm)
    digests = {"model": input_digest(model), "arm": input_digest(arm)}
    store = open_store(config.store)
    uris = {
        name: store.uri_of(f"inputs/{digest}/{name}") for name, digest in sorted(digests.items())
    }
    plan = plan_job(config, sft, **uris, digests=canonical_json(digests), seed=seed)
    place = open_store(plan.job.place)
    if not place.exists("result/manifest.json"):
        for name, folder in (("model", model), ("arm", arm)):
            _put_input(store, folder, f"inputs/{digests[name]}", name)
        run_job(cluster, plan, config, say=say)
    _fetch_result(place, out, plan, digests)


def _put_input(store: Store, folder: Path, place: str, name: str) -> None:
    """Once: what a mark vouches for is there whole."""
    if not store.exists(f"{place}/whole"):
        store.put_folder(folder, f"{place}/{name}")
        store.create_text(f"{place}/whole", "")


def _fetch_result(place: Store, out: Path, plan: Plan, digests: dict[str, str]) -> None:
    """The result, whole, of this very job; `UserError` for anything else."""
    if not place.exists("result/manifest.json"):
        raise UserError(f"{plan.name} is complete but left no result at {place.uri_of('result')}")
    place.get_folder("result", out)
    manifest = verify(out)
    job = plan.job
    wanted = {"config": job.sft.model_dump(mode="json"), "seed": job.seed}
    found = {name: manifest.get(name) for name in wanted}
    steps = summary_of(out)["steps"]
    whole = job.sft.max_steps is None or steps == job.sft.max_steps
    if found != wanted or manifest["inputs"] != digests or not whole:
        raise UserError(f"{place.uri_of('result')} is the result of another training")


def run_job(cluster: Cluster, plan: Plan, config: TrainJobConfig, *, say: Say = print) -> None:
    """Create the job, or join it, and wait for its end; `UserError` when it fails."""
    with interrupts(f"and TrainJob {plan.name} is deleted"):
        try:
            _start(cluster, plan, config, say)
            end = _follow(cluster, plan, say)
        except Interrupted:
            cluster.delete(TRAIN_JOB, plan.name)
            raise
    if end["type"] == "Failed":
        why = end.get("message") or end.get("reason") or "no reason given"
        raise UserError(f"{plan.name} failed: {why}; run again to go on from its last checkpoint")


def _follow(cluster: Cluster, plan: Plan, say: Say) -> Object:
    """Say what the job says; the condition that ended it."""
    done = threading.Event()
    reader = threading.Thread(target=_follow_logs, args=(cluster, plan, say, done), daemon=True)
    reader.start()
    try:
        return _wait(cluster, plan)
    finally:
        done.set()
        reader.join(timeout=5)


def _start(cluster: Cluster, plan: Plan, config: TrainJobConfig, say: Say) -> None:
    found = cluster.get(TRAIN_JOB, plan.name)
    if found and found["metadata"].get("annotations", {}).get(SPEC) != plan.spec:
        raise UserError(f"TrainJob {plan.name} is somebody else's; set another name")
    if found and (end := _end(found)) and end["type"] == "Failed":
        say(f"{plan.name}: failed before; made again, it goes on from its last checkpoint")
        cluster.delete(TRAIN_JOB, plan.name)
        _wait_until_gone(cluster, plan)
        found = None
    if found:
        say(f"{plan.name}: is there already")
        return
    try:
        cluster.create(TRAIN_JOB, train_job(plan, config, cluster.namespace))
        say(f"{plan.name}: created in {cluster.namespace}, {config.nodes} nodes")
    except ClusterError as error:
        # Another process made it, or our first request was done and its answer lost.
        if error.status != 409:
            raise
        _start(cluster, plan, config, say)


def _wait_until_gone(cluster: Cluster, plan: Plan) -> None:
    for now in cluster.watch(TRAIN_JOB, plan.name, 300):
        if now is None:
            return
    raise UserError(f"TrainJob {plan.name} is not deleted after 300 s; look at its finalizers")


def _wait(cluster: Cluster, plan: Plan) -> Object:
    """The condition that ended the job. No other one tells anything: Kueue suspends and resumes,
    and a resumed job says `Created` for ever."""
    while True:
        for now in cluster.watch(TRAIN_JOB, plan.name, DAY):
            if now is None:
                raise UserError(f"TrainJob {plan.name} was deleted by somebody else")
            if end := _end(now):
                return end


def _end(job: Object) -> Object | None:
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            found: Object = condition
            return found
    return None


def _follow_logs(cluster: Cluster, plan: Plan, say: Say, done: threading.Event) -> None:
    """Say what the first node says, until the job ends; pods come and go with preemption."""
    since: dict[str, str] = {}
    while True:
        last = done.is_set()
        with suppress(ClusterError):  # no pod yet, or just gone: its log is a courtesy
            for pod in cluster.objects(POD, f"{JOBSET}={plan.name},{INDEX}=0"):
                _say_new(cluster, pod, since, say)
        if last:
            return
        done.wait(LOG_PAUSE)


def _say_new(cluster: Cluster, pod: Object, since: dict[str, str], say: Say) -> None:
    if pod.get("status", {}).get("phase") not in ("Running", "Succeeded", "Failed"):
        return
    name = pod["metadata"]["name"]
    for line in cluster.logs(name, since=since.get(name, "")):
        moment, _, text = line.partition(" ")
        if moment > since.get(name, ""):
            since[name] = moment
            say(f"{name}: {text}")

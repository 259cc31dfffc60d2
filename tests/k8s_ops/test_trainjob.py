"""TrainJobs: their specs, their ends, and a real training behind one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.sft import sft as sft_component
from dgr.cluster import TrainJobConfig
from dgr.errors import Interrupted, UserError
from dgr.files import read_records
from dgr.runtime import StepSettings
from dgr.settings import parse_settings
from dgr.sft import SftConfig, TrainStep
from dgr.steps import manifest_digest, verify
from dgr.storage import open_store
from k8s.client import POD, TRAIN_JOB, Cluster
from k8s.trainjob import Plan, plan_job, run_job, train_job, train_on_cluster
from k8s.trainjob import trainer as job_trainer
from tests.k8s_ops.conftest import needs_crds
from tests.k8s_server import KubernetesServer, key_of
from tests.s3 import free_port
from tests.sft.conftest import arm

__all__ = ["arm"]

SFT = SftConfig(batch_size=16, max_steps=100)
CONFIG = TrainJobConfig(
    store="s3://train/dgr", image="registry/dgr-train@sha256:0", nodes=2, gpus=4
)


def planned(config: TrainJobConfig = CONFIG, sft: SftConfig = SFT, digests: str = "d") -> Plan:
    return plan_job(config, sft, model="s3://m/model", arm="s3://m/arm", digests=digests, seed=3)


def condition(kind: str, status: str = "True", reason: str = "Because") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": f"it is {kind}",
        "lastTransitionTime": "2026-11-01T00:00:00Z",
    }


def state(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"conditions": list(conditions)}


TABLE: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {"numNodes": 2, "numProcPerNode": 4, "image": CONFIG.image}, {}),
    (
        {"gpus": 0, "cpu_processes": 2, "resources": {"cpu": "4", "memory": "8Gi"}},
        {
            "numProcPerNode": 2,
            "resourcesPerNode": {
                "requests": {"cpu": "4", "memory": "8Gi"},
                "limits": {"cpu": "4", "memory": "8Gi"},
            },
        },
        {},
    ),
    (
        {
            "node_selector": {"pool": "h100"},
            "tolerations": [{"key": "nvidia.com/gpu"}],
            "service_account": "trainer",
            "grace_seconds": 300,
        },
        {
            "resourcesPerNode": {
                "requests": {"nvidia.com/gpu": "4"},
                "limits": {"nvidia.com/gpu": "4"},
            }
        },
        {
            "nodeSelector": {"pool": "h100"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "serviceAccountName": "trainer",
            "terminationGracePeriodSeconds": 300,
        },
    ),
]


def pod_of(body: dict[str, Any]) -> Any:
    (patch,) = body["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job["name"] == "node"
    return job["template"]["spec"]["template"]["spec"]


@needs_crds
@pytest.mark.parametrize(("config", "trainer", "pod"), TABLE)
def test_the_job_is_as_configured_and_valid(
    cluster: Cluster, config: dict[str, Any], trainer: dict[str, Any], pod: dict[str, Any]
) -> None:
    changed = TrainJobConfig(**(CONFIG.model_dump() | config))
    body = train_job(planned(changed), changed, "ml")
    found = cluster.create(TRAIN_JOB, body)
    assert found["spec"] == body["spec"]
    assert trainer.items() <= body["spec"]["trainer"].items()
    assert pod.items() <= pod_of(body).items()
    assert pod_of(body)["securityContext"]["runAsNonRoot"] is True


def test_queue_secret_and_spec_are_named() -> None:
    config = CONFIG.model_copy(update={"queue": "gpu", "secret": "store", "env": {"A": "b"}})
    body = train_job(planned(config), config, "ml")
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert body["metadata"]["annotations"] == {"dgr/spec": planned(config).spec}
    env = {each["name"]: each for each in body["spec"]["trainer"]["env"]}
    assert env["A"]["value"] == "b"
    key = env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]
    assert key == {"name": "store", "key": "AWS_SECRET_ACCESS_KEY"}


def test_what_is_trained_decides_the_name() -> None:
    names = {
        planned().name,
        planned(digests="e").name,
        planned(sft=SFT.model_copy(update={"learning_rate": 1e-4})).name,
        planned(config=CONFIG.model_copy(update={"nodes": 1})).name,
    }
    assert len(names) == 4 and planned().name in names
    assert all(len(name) <= 51 for name in names)


@pytest.mark.parametrize(
    ("sft", "why"),
    [
        (
            {"batch_size": 12},
            "batch_size 12 cannot be dealt to 8 processes; make it a multiple of 8",
        ),
        ({"batch_size": 24, "micro_batch_size": 2}, "in parts of 2 rows; make it a multiple of 16"),
    ],
)
def test_a_batch_that_cannot_be_dealt_is_told_before_any_node_is_asked_for(
    sft: dict[str, Any], why: str
) -> None:
    with pytest.raises(UserError, match=why):
        planned(sft=SftConfig(**sft))


def test_without_nodes_the_step_trains_where_it_is() -> None:
    def here(config: SftConfig, *, model: Path, arm: Path, out: Path, seed: int) -> None:
        raise NotImplementedError

    assert job_trainer(None, here=here) is here


def test_the_runtimes_image_trains_where_none_is_named_and_every_job_ends(
    cluster: Cluster,
) -> None:
    config = CONFIG.model_copy(update={"image": None, "deadline_s": 3_600})
    spec = cluster.create(TRAIN_JOB, train_job(planned(config), config, "ml"))["spec"]
    assert "image" not in spec["trainer"]
    assert spec["activeDeadlineSeconds"] == 3_600


def test_who_starts_a_job_needs_no_torch(cluster: Cluster) -> None:
    """The pod that follows it runs in the image without."""
    code = "import sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'trl', 'peft')))"
    code += "\nfrom dgr.sft import train; from k8s.trainjob import trainer"
    code += "\nprint(trainer({'store': 's3://b', 'image': 'i'}, here=train).func.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "train_on_cluster"


def test_a_folder_is_no_store_of_many_nodes() -> None:
    with pytest.raises(UserError, match="nodes share no disk"):
        parse_settings(TrainJobConfig, {"store": "/data", "image": "i"}, "the job")


def test_only_complete_and_failed_end_the_wait(cluster: Cluster, server: KubernetesServer) -> None:
    server.controller = lambda _: [
        (0.02, state(condition("Suspended"))),
        (0.02, state(condition("Suspended", "False"), condition("Created"))),
        (0.02, state(condition("Complete", "False"), condition("Created"))),
        (0.3, state(condition("Created"), condition("Complete"))),
    ]
    start = time.monotonic()
    run_job(cluster, planned(), CONFIG, say=lambda _: None)
    assert time.monotonic() - start > 0.35


def test_a_failure_is_told_and_the_next_call_makes_the_job_anew(
    cluster: Cluster, server: KubernetesServer
) -> None:
    server.controller = lambda _: [(0.02, state(condition("Failed")))]
    with pytest.raises(UserError, match="failed: it is Failed; run again to go on"):
        run_job(cluster, planned(), CONFIG, say=lambda _: None)
    first = server.get(key_of(TRAIN_JOB, planned().name))["metadata"]["uid"]
    server.controller = lambda _: [(0.02, state(condition("Complete")))]
    run_job(cluster, planned(), CONFIG, say=lambda _: None)
    assert server.get(key_of(TRAIN_JOB, planned().name))["metadata"]["uid"] != first


def test_a_job_that_is_there_is_followed(cluster: Cluster, server: KubernetesServer) -> None:
    cluster.create(TRAIN_JOB, train_job(planned(), CONFIG, "ml"))
    key = key_of(TRAIN_JOB, planned().name)
    timer = threading.Timer(0.2, server.set_status, (key, state(condition("Complete"))))
    timer.start()
    said: list[str] = []
    run_job(cluster, planned(), CONFIG, say=said.append)
    assert said == [f"{planned().name}: is there already"]
    assert sum(method == "POST" for method, _, _ in server.requests) == 1


def test_a_lost_answer_to_the_creation_makes_no_second_job(
    cluster: Cluster, server: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = server.create

    def lossy(*args: Any) -> Any:
        monkeypatch.setattr(server, "create", create)
        create(*args)
        server.failures.append(503)
        return create(*args)  # AlreadyExists, after which the next answer is 503

    monkeypatch.setattr(server, "create", lossy)
    server.controller = lambda _: [(0.3, state(condition("Complete")))]
    run_job(cluster, planned(), CONFIG, say=lambda _: None)
    assert len(cluster.objects(TRAIN_JOB)) == 1


def test_a_foreign_job_of_that_name_is_left_alone(
    cluster: Cluster, server: KubernetesServer
) -> None:
    body = train_job(planned(), CONFIG, "ml")
    body["metadata"]["annotations"] = {}
    cluster.create(TRAIN_JOB, body)
    with pytest.raises(UserError, match="is somebody else's"):
        run_job(cluster, planned(), CONFIG, say=lambda _: None)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_deletes_the_job(cluster: Cluster, server: KubernetesServer, signum: int) -> None:
    before = signal.getsignal(signum)

    def created(said: str) -> None:
        # Not before the job is there: until then nothing catches the signal.
        assert "created" in said
        threading.Timer(0.3, os.kill, (os.getpid(), signum)).start()

    with pytest.raises(Interrupted, match=f"TrainJob {planned().name} is deleted") as found:
        run_job(cluster, planned(), CONFIG, say=created)
    assert found.value.exit_code == 128 + signum
    assert cluster.objects(TRAIN_JOB) == []
    assert signal.getsignal(signum) == before


def test_the_log_is_told_once_across_preemption(cluster: Cluster, server: KubernetesServer) -> None:
    labels = {
        "jobset.sigs.k8s.io/jobset-name": planned().name,
        "batch.kubernetes.io/job-completion-index": "0",
    }

    def pod(name: str, *lines: str) -> None:
        metadata = {"name": name, "labels": labels}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}}
        server.create(key_of(POD, name), body)
        server.set_status(key_of(POD, name), {"phase": "Running"})
        server.logs[name] = [
            f"2026-01-01T00:00:0{number}Z {line}" for number, line in enumerate(lines)
        ]

    def play() -> None:
        pod("p1", "one", "two")
        time.sleep(1.5)
        server.logs["p1"].append("2026-01-01T00:00:05Z three")
        time.sleep(1.5)
        server.delete(key_of(POD, "p1"))
        pod("p2", "four")
        server.set_status(key_of(TRAIN_JOB, planned().name), state(condition("Complete")))

    said: list[str] = []
    threading.Timer(0.2, play).start()
    run_job(cluster, planned(), CONFIG, say=said.append)
    assert said[1:] == ["p1: one", "p1: two", "p1: three", "p2: four"]


def trainer(server: KubernetesServer) -> Callable[[dict[str, Any]], Any]:
    """Plays Kubeflow Trainer: runs the command of a job with the environment that Trainer sets."""

    def run(body: dict[str, Any]) -> Any:
        spec = body["spec"]["trainer"]
        env = {each["name"]: each["value"] for each in spec["env"] if "value" in each}
        env |= {
            "PET_NNODES": "1",
            "PET_NPROC_PER_NODE": str(spec["numProcPerNode"]),
            "PET_MASTER_PORT": str(free_port()),
            "DGR_WORK": os.environ["TEST_WORK"],
            "OMP_NUM_THREADS": "1",
        }
        assert spec["command"][0] == "torchrun"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *spec["command"][1:],
            *spec["args"],
        ]
        done = subprocess.run(command, env=os.environ | env, check=False, capture_output=True)
        if done.returncode:
            yield 0.0, state(condition("Failed") | {"message": done.stderr.decode()[-2000:]})
        else:
            yield 0.0, state(condition("Created"), condition("Complete"))

    return run


def test_the_components_job_is_deleted_with_it_and_trains_when_it_is_tried_again(
    cluster: Cluster,
    server: KubernetesServer,
    s3: str,
    tiny_model: Path,
    arm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    sft = SftConfig(batch_size=4, max_steps=4, threads=1, learning_rate=1e-3)
    store = f"{s3}/{tmp_path.name}"
    config = TrainJobConfig(store=store, image="i", gpus=0)
    inputs = {"model": tiny_model, "arm": arm, "seed": 1}
    place = open_store(f"{store}/run")
    told = StepSettings(
        config=sft.model_dump(mode="json"),
        seed=1,
        run=place.uri,
        model=str(tiny_model),
        options={"train_job": config.model_dump(mode="json")},
    ).model_dump_json()
    rows = SimpleNamespace(path=str(arm), metadata={"digest": manifest_digest(arm)})
    made = SimpleNamespace(path=str(tmp_path / "out"), metadata={})

    def end_it() -> None:
        while not cluster.objects(TRAIN_JOB):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_it).start()
    with pytest.raises(SystemExit) as ended:
        sft_component.python_func(told, "dgr", rows, made)
    assert ended.value.code == 128 + signal.SIGTERM
    assert cluster.objects(TRAIN_JOB) == place.list() == []

    server.controller = trainer(server)
    sft_component.python_func(told, "dgr", rows, made)
    assert made.metadata == {
        "digest": manifest_digest(tmp_path / "out"), "step": "sft", "arm": "dgr"
    }  # fmt: skip
    assert place.exists("sft/dgr/manifest.json")
    verify(tmp_path / "out")
    assert len(list(read_records(tmp_path / "out" / "records.jsonl", TrainStep))) == 4
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()

    # Once more: the result is fetched, nothing is trained.
    server.controller = None
    cluster.delete(TRAIN_JOB, cluster.objects(TRAIN_JOB)[0]["metadata"]["name"])
    train_on_cluster(cluster, config, sft, out=tmp_path / "again", say=lambda _: None, **inputs)
    assert cluster.objects(TRAIN_JOB) == []
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (
        tmp_path / "out" / "manifest.json"
    ).read_bytes()

    # A result that is not what its manifest says is none.
    kept = open_store(store)
    (weights,) = (key for key in kept.list("jobs") if key.endswith("model/model.safetensors")
                  and "/result/" in key)  # fmt: skip
    (tmp_path / "other").write_bytes(b"others")
    kept.put_file(tmp_path / "other", weights)
    with pytest.raises(UserError, match="was changed after it was written"):
        train_on_cluster(cluster, config, sft, out=tmp_path / "bad", say=lambda _: None, **inputs)

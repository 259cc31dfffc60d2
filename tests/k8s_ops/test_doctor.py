"""`dgr doctor --cluster`: one line a check, on clusters that lack one thing or another."""

import json
from pathlib import Path
from typing import Any

import pytest

from dgr.cli import app
from dgr.cluster import TrainJobConfig
from dgr.config import load_run_config
from k8s.client import LOCAL_QUEUE, NODE, POD, SECRET, Cluster
from k8s.doctor import PROBE, Wanted, check_cluster, probe_pod, wanted
from tests.k8s_server import KubernetesServer, key_of
from tests.openai_server import chat_server

ROOT = Path(__file__).parents[2]
WANT = Wanted(
    image="dgr-runner:1",
    queue="gpu",
    gpus=8,
    secrets=("store",),
    urls=(("S3", "http://store:8333"), ("MLflow", "http://mlflow:5000/api?x=1")),
)
GROUPS = {
    "kubeflow.org": ["v1beta1"],
    "trainer.kubeflow.org": ["v1alpha1"],
    "kueue.x-k8s.io": ["v1beta2", "v1beta1"],
    "serving.kserve.io": ["v1alpha1", "v1beta1"],
}


def put(server: KubernetesServer, resource: Any, name: str, **body: Any) -> None:
    key = key_of(resource, name)
    status = body.pop("status", None)
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
    server.create(key, head | body)
    if status:
        server.set_status(key, status)


def ends(server: KubernetesServer, answers: dict[str, Any], **status: Any) -> None:
    """Plays the kubelet: a pod's log holds these answers."""

    def run(pod: dict[str, Any]) -> Any:
        server.logs[pod["metadata"]["name"]] = [f"2026-01-01T00:00:00Z {json.dumps(answers)}"]
        yield 0.02, {"phase": "Pending"}
        yield 0.02, {"phase": "Succeeded"} | status

    server.controller = run


@pytest.fixture
def good(server: KubernetesServer) -> KubernetesServer:
    """A cluster that lacks nothing."""
    server.groups = {name: list(versions) for name, versions in GROUPS.items()}
    active = {"type": "Active", "status": "True", "reason": "Ready", "message": "",
              "lastTransitionTime": "2026-11-01T00:00:00Z"}  # fmt: skip
    put(server, LOCAL_QUEUE, "gpu", spec={"clusterQueue": "all"}, status={"conditions": [active]})
    for name, gpus in (("a", "8"), ("b", "4"), ("c", "0")):
        put(server, NODE, name, status={"allocatable": {"cpu": "64", "nvidia.com/gpu": gpus}})
    put(server, NODE, "d", status={"allocatable": {"cpu": "8"}})
    put(server, SECRET, "store", data={"AWS_SECRET_ACCESS_KEY": "aHVzaA=="})
    ends(server, {"S3": 403, "MLflow": 200})
    return server


def failed(cluster: Cluster, want: Wanted = WANT) -> list[str]:
    return [check.sentence for check in check_cluster(cluster, want) if not check.passed]


def test_a_good_cluster_passes_and_its_secrets_stay_there(
    good: KubernetesServer, cluster: Cluster
) -> None:
    checks = list(check_cluster(cluster, WANT))
    assert [check.sentence for check in checks if not check.passed] == []
    said = [check.sentence for check in checks]
    assert "KServe serves serving.kserve.io/v1beta1" in said
    assert "LocalQueue gpu is active" in said
    assert "12 GPUs are allocatable on 2 of 4 nodes" in said
    assert "secret store is there" in said
    assert "S3 from inside (http://store:8333): answers" in said
    assert "aHVzaA==" not in json.dumps(good.sent)
    assert cluster.objects(POD) == []


def lack(server: KubernetesServer, what: str) -> None:
    changes: dict[str, Any] = {
        "trainer": lambda: server.groups.pop("trainer.kubeflow.org"),
        "version": lambda: server.groups.update({"serving.kserve.io": ["v2"]}),
        "rights": lambda: server.denied.update({("delete", "trainjobs"), ("get", "pods/log")}),
        "queue": lambda: server.delete(key_of(LOCAL_QUEUE, "gpu")),
        "asleep": lambda: server.set_status(key_of(LOCAL_QUEUE, "gpu"), {}),
        "gpus": lambda: server.delete(key_of(NODE, "a")),
        "nodes": lambda: server.forbidden.add(("GET", "nodes")),
        "secret": lambda: server.delete(key_of(SECRET, "store")),
        "network": lambda: ends(server, {"S3": "timeout", "MLflow": 200}),
        "hosts": lambda: ends(server, {"S3": 200, "MLflow": 403}),
        "pods": lambda: server.forbidden.add(("POST", "pods")),
        "image": lambda: ends(
            server,
            {},
            phase="Pending",
            containerStatuses=[
                {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
            ],
        ),
    }
    changes[what]()


@pytest.mark.parametrize(
    ("what", "sentences"),
    [
        ("trainer", ["Kubeflow Trainer is not installed: nothing serves trainer.kubeflow.org"]),
        ("version", ["KServe serves serving.kserve.io v2, and we speak v1beta1; install"]),
        (
            "rights",
            [
                "rights to train: may not delete trainjobs, get pods/log; bind a role that may",
                "rights to look: may not get pods/log; bind a role that may",
            ],
        ),
        ("queue", ["ml has no LocalQueue gpu (it has: none); make it"]),
        ("asleep", ["LocalQueue gpu is not active; look at its ClusterQueue"]),
        ("gpus", ["4 GPUs are allocatable on 1 of 3 nodes; the training asks for 8"]),
        ("nodes", ["GPUs: the cluster answered 403 to GET /api/v1/nodes"]),
        ("secret", ["secret store is not in ml; make it"]),
        ("network", ["S3 from inside (http://store:8333): cannot be reached (timeout)"]),
        (
            "hosts",
            ["MLflow from inside (http://mlflow:5000/api): answers 403; start it with --allow"],
        ),
        ("pods", ["from inside: the cluster answered 403 to POST"]),
        ("image", ["from inside: pod dgr-doctor-"]),
    ],
)
def test_what_is_lacking_is_one_sentence_each(
    good: KubernetesServer, cluster: Cluster, what: str, sentences: list[str]
) -> None:
    lack(good, what)
    found = failed(cluster)
    assert len(found) == len(sentences)
    for sentence, beginning in zip(found, sentences, strict=True):
        assert sentence.startswith(beginning)
    assert cluster.objects(POD) == []


def test_the_pod_may_run_where_pod_security_is_restricted(cluster: Cluster) -> None:
    spec = probe_pod(cluster, WANT)["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False


def test_the_pods_program_tells_what_it_reaches() -> None:
    import subprocess
    import sys

    with chat_server(lambda _: {}, "m") as chat:
        urls = {"S3": f"{chat.url}/v1/models", "MLflow": "http://127.0.0.1:9/"}
        command = [sys.executable, "-c", PROBE, json.dumps(urls)]
        found = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert json.loads(found) == {"S3": 200, "MLflow": "ConnectionRefusedError"}


def test_a_run_and_its_training_say_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    config = load_run_config(
        ROOT / "configs" / "nano.yaml", ["registry.tracking_uri=http://mlflow:5000/"]
    )
    nodes = TrainJobConfig(
        store="s3://b", image="i", nodes=2, gpus=4, queue="q", secret="s",
        env={"AWS_ENDPOINT_URL": "http://store"},
    )  # fmt: skip
    found = wanted(config, nodes, "", ("t",))
    assert (found.image, found.queue, found.gpus, found.secrets) == ("i", "q", 8, ("s", "t"))
    names = dict(found.urls)
    assert names["S3"] == "http://store"
    assert names["MLflow"].startswith("http://mlflow:5000/api/2.0/mlflow/")
    assert wanted(None, None, "", ()) == Wanted()


def test_on_the_command_line(
    good: KubernetesServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    call = ["doctor", "--cluster", "--secret", "store"]
    assert app(call, standalone_mode=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("namespace ml") and all(line.startswith("ok    ") for line in lines)
    assert app([*call, "--secret", "none"], standalone_mode=False) == 2
    assert "FAIL  secret none is not in ml; make it" in capsys.readouterr().out


def test_an_unreachable_cluster_is_one_failed_check(
    good: KubernetesServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k8s.client.PATIENCE", 0.2)
    good.__exit__()
    (check,) = check_cluster(cluster, WANT)
    assert not check.passed and "cannot be reached" in check.sentence

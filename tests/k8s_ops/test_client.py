"""Requests, retries, conflicts and watches against a real HTTP server."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from k8s import client
from k8s.client import INFERENCE_SERVICE, POD, Cluster, ClusterError, Conflict, connect
from tests.k8s_server import TOKEN, KubernetesServer, key_of

KEY = key_of(POD, "one")


def pod(name: str = "one", **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels or {"app": "a"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n"}}


def test_an_object_is_made_read_listed_and_deleted(cluster: Cluster) -> None:
    assert cluster.get(POD, "one") is None
    made = cluster.create(POD, pod())
    assert cluster.get(POD, "one") == made
    cluster.create(POD, pod("two", app="b"))
    assert [found["metadata"]["name"] for found in cluster.objects(POD, "app=b")] == ["two"]
    assert cluster.delete(POD, "one") and not cluster.delete(POD, "one")
    assert cluster.get(POD, "one") is None


def test_what_time_may_mend_is_tried_again(server: KubernetesServer, cluster: Cluster) -> None:
    server.failures = [503, 429, 500]
    assert cluster.objects(POD) == []
    assert len(server.requests) == 4


@pytest.mark.parametrize("code", [401, 403, 404, 422])
def test_other_errors_are_told_at_once(
    server: KubernetesServer, cluster: Cluster, code: int
) -> None:
    server.failures = [code]
    with pytest.raises(ClusterError, match=f"answered {code} to GET /api/v1/namespaces/ml/pods"):
        cluster.objects(POD)
    assert len(server.requests) == 1


def test_an_unreachable_cluster_is_one_sentence_without_the_token(
    server: KubernetesServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    server.__exit__()
    with pytest.raises(UserError, match=r"cannot be reached \(\w+\)") as found:
        cluster.objects(POD)
    assert TOKEN not in str(found.value) and "\n" not in str(found.value)


def test_tokens_in_a_servers_message_are_not_repeated() -> None:
    text = "bad Bearer abc.def and eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJr.c2ln here"
    assert client._without_tokens(text) == "bad *** and *** here"


def test_no_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"no cluster is configured: .*set KUBECONFIG"):
        connect()


def test_the_namespace_is_the_contexts_or_the_given_one(cluster: Cluster) -> None:
    assert cluster.namespace == "ml"
    assert connect("other").namespace == "other"


def test_an_old_copy_does_not_overwrite(cluster: Cluster) -> None:
    old = cluster.create(POD, pod())
    cluster.replace(POD, old | {"spec": {"nodeName": "m"}})
    with pytest.raises(Conflict, match="has been modified"):
        cluster.replace(POD, old | {"spec": {"nodeName": "k"}})


def test_apply_takes_away_what_it_no_longer_names(cluster: Cluster) -> None:
    body = pod()
    cluster.apply(POD, body | {"spec": {"nodeName": "n", "hostname": "h"}})
    found = cluster.apply(POD, body | {"spec": {"nodeName": "m"}})
    assert found["spec"] == {"nodeName": "m"}


def test_apply_overrules_others_only_by_force(server: KubernetesServer, cluster: Cluster) -> None:
    cluster.apply(POD, pod())
    now = server.get(KEY)
    server.replace(KEY, now | {"spec": {"nodeName": "theirs"}}, "argocd")
    with pytest.raises(Conflict) as found:
        cluster.apply(POD, pod())
    assert found.value.owners == {"argocd"}
    assert cluster.apply(POD, pod(), force=True)["spec"]["nodeName"] == "n"


def test_what_we_replaced_can_be_applied_anew_once_it_is_adopted(cluster: Cluster) -> None:
    made = cluster.apply(POD, pod())
    put = cluster.replace(POD, made | {"spec": {"nodeName": "m", "hostname": "h"}})
    with pytest.raises(Conflict) as found:
        cluster.apply(POD, pod())
    assert found.value.owners == {"dgr"}
    adopted = cluster.adopted(POD, put)
    assert adopted["spec"] == put["spec"]
    assert cluster.adopted(POD, adopted) == adopted
    assert cluster.apply(POD, pod())["spec"] == {"nodeName": "n"}


def test_a_watch_sees_every_state_and_the_end(server: KubernetesServer, cluster: Cluster) -> None:
    cluster.create(POD, pod())
    cluster.create(POD, pod("other"))

    def act() -> None:
        for phase in ("Pending", "Running"):
            time.sleep(0.05)
            server.set_status(key_of(POD, "other"), {"phase": "Ignored"})
            server.set_status(KEY, {"phase": phase})
        time.sleep(0.05)
        server.delete(KEY)

    threading.Thread(target=act, daemon=True).start()
    seen = []
    for now in cluster.watch(POD, "one", 10):
        seen.append(now and now.get("status", {}).get("phase"))
        if now is None:
            break
    assert seen == [None, "Pending", "Running", None]
    assert sum("watch=true" in path for _, path, _ in server.requests) == 1


def test_an_expired_watch_reads_again(server: KubernetesServer, cluster: Cluster) -> None:
    cluster.create(POD, pod())
    watch = cluster.watch(POD, "one", 10)
    next(watch)

    def act() -> None:
        time.sleep(0.1)
        with server.changed:
            server.set_status(KEY, {"phase": "Running"})
            server.compact()  # the change is not told: its event is forgotten

    threading.Thread(target=act, daemon=True).start()
    now = next(watch)
    assert now and now["status"] == {"phase": "Running"}


def test_a_watch_ends_in_time(cluster: Cluster) -> None:
    start = time.monotonic()
    assert list(cluster.watch(POD, "none", 1)) == [None]
    assert time.monotonic() - start < 5


def test_rights_are_asked_for(server: KubernetesServer, cluster: Cluster) -> None:
    server.denied = {("delete", "inferenceservices"), ("get", "pods/log")}
    assert cluster.allowed("create", INFERENCE_SERVICE)
    assert not cluster.allowed("delete", INFERENCE_SERVICE)
    assert not cluster.allowed("get", POD, "log")

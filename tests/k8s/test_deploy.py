"""What `make deploy` refuses, and what it asks of kubectl where nothing is wrong.

A small program stands for kubectl and its cluster; rendering is the real one's.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from k8s import deploy, pin
from k8s.manifests import kubectl
from tests.k8s.conftest import SOURCE
from tests.k8s.policies import restricted

# Renders by the real kubectl; answers `get` from a file; writes down everything else.
CLUSTER = """\
#!{python}
import json, pathlib, subprocess, sys
folder, arguments = pathlib.Path({folder!r}), sys.argv[1:]
if arguments[0] == "kustomize":
    sys.exit(subprocess.run([{kubectl!r}, *arguments]).returncode)
if arguments[0] == "get":
    namespace = arguments[arguments.index("-n") + 1] if "-n" in arguments else ""
    held = json.loads((folder / "cluster.json").read_text())
    print(json.dumps(held.get("/".join([arguments[1], namespace, arguments[2]]), "")).strip('"'))
    sys.exit(0)
text = sys.stdin.read() if "-" in arguments else ""
with (folder / "calls").open("a") as file:
    file.write(json.dumps([arguments, text]) + "\\n")
"""
PATCH = yaml.safe_load((SOURCE / "storage-initializer.yaml").read_text())
RUNS = {
    "namespace//kubeflow": {"metadata": {"labels": {deploy.ENFORCE: "restricted"}}},
    "clusterstoragecontainer//default": PATCH,
}


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "kubectl"
        self.program.write_text(
            CLUSTER.format(python=sys.executable, folder=str(folder), kubectl=kubectl())
        )
        self.program.chmod(0o755)
        self.holds({})

    def holds(self, objects: Mapping[str, object]) -> None:
        (self.folder / "cluster.json").write_text(json.dumps(objects))

    @property
    def calls(self) -> list[tuple[list[str], str]]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(arguments, text) for arguments, text in map(json.loads, lines)]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(tmp_path)
    monkeypatch.setattr(deploy, "kubectl", lambda: str(made.program))
    return made


def test_kind_is_applied_and_waited_for(copied: Path, cluster: Cluster) -> None:
    cluster.holds(RUNS)
    assert deploy.main(["up", "local-kind"]) == 0
    (apply, text), *waits = cluster.calls
    assert apply == ["apply", "-f", "-"]
    kinds = [value["kind"] for value in yaml.safe_load_all(text)]
    assert {"Namespace", "StatefulSet", "NetworkPolicy", "TrainingRuntime"} <= set(kinds)
    waited = {arguments[2] for arguments, _ in waits}
    assert waited == {
        "deployment/mlflow",
        "deployment/dgr-promoter",
        "deployment/dgr-deployer",
        "statefulset/postgres",
        "statefulset/seaweedfs",
    }


def test_undeploy_keeps_data(copied: Path, cluster: Cluster) -> None:
    assert deploy.main(["down", "local-kind"]) == 0
    ((arguments, text),) = cluster.calls
    assert arguments == ["delete", "--ignore-not-found", "-f", "-"]
    objects = list(yaml.safe_load_all(text))
    kinds = {value["kind"] for value in objects}
    assert "Deployment" in kinds and not kinds & {"Namespace", "PersistentVolumeClaim"}
    assert "kfp-launcher" not in {value["metadata"]["name"] for value in objects}


def test_no_pins_no_deployment(
    unpinned: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["up", "gpu"]) == 2
    assert "cannot be rendered" in capsys.readouterr().err
    assert cluster.calls == []


def test_a_tag_is_refused(
    copied: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    pins = yaml.safe_load(pin.PINS.read_text())
    pins["images"][0] = {"name": "dgr-runner", "newTag": "latest"}
    pin.PINS.write_text(yaml.safe_dump(pins))
    assert deploy.main(["up", "gpu"]) == 2
    assert "images without a digest: dgr-runner:latest; run make pins" in capsys.readouterr().err
    assert cluster.calls == []


def test_addresses_that_were_not_set_are_named(
    copied: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["up", "gpu"]) == 2
    said = capsys.readouterr().err
    for name in ("NetworkPolicy/uses-database", "ConfigMap/kfp-launcher", "ConfigMap/dgr-platform"):
        assert f"{name} still has an address that you must set" in said
    assert cluster.calls == []


def set_addresses(overlay: Path) -> None:
    path = overlay / "kustomization.yaml"
    path.write_text(path.read_text().replace("192.0.2.", "10.0.0.").replace("example.org", "lan"))


def test_missing_secrets_and_profile_are_named(
    copied: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    set_addresses(copied / "overlays/gpu")
    assert deploy.main(["up", "gpu"]) == 2
    said = capsys.readouterr().err
    assert "there is no Secret mlflow-database in dgr" in said
    assert "there is no namespace kubeflow; install Kubeflow Pipelines first" in said
    cluster.holds({"namespace//kubeflow": {"metadata": {}}})
    assert deploy.main(["up", "gpu"]) == 2
    assert "kubeflow does not enforce the restricted profile" in capsys.readouterr().err
    assert cluster.calls == []


def test_a_storage_initializer_that_would_be_refused_is_told_with_its_mend(
    copied: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    unpatched = {"spec": {"container": {"name": "storage-initializer"}}}
    cluster.holds({**RUNS, "clusterstoragecontainer//default": unpatched})
    assert deploy.main(["up", "local-kind"]) == 2
    assert "--patch-file k8s/storage-initializer.yaml" in capsys.readouterr().err
    assert cluster.calls == []


def test_the_patch_makes_the_storage_initializer_one_that_may_run() -> None:
    def pod(container: dict[str, object]) -> dict[str, object]:
        spec = {"initContainers": [{"name": "storage-initializer", **container}], "containers": []}
        return {"kind": "Pod", "metadata": {"name": "server"}, "spec": spec}

    assert restricted([pod(PATCH["spec"]["container"])]) == []
    assert restricted([pod({})]) != []


def test_production_is_applied_once_all_is_there(copied: Path, cluster: Cluster) -> None:
    set_addresses(copied / "overlays/gpu")
    names = ("mlflow-database", "mlflow-s3", "dgr-s3", "dgr-promoter-s3", "dgr-models-s3")
    held = {f"secret/dgr/{name}": {"metadata": {}} for name in names}
    cluster.holds({**RUNS, **held})
    assert deploy.main(["up", "gpu"]) == 0
    assert cluster.calls[0][0] == ["apply", "-f", "-"]


def test_a_cluster_that_does_not_answer_is_one_sentence(
    copied: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    (cluster.folder / "cluster.json").unlink()
    assert deploy.main(["up", "local-kind"]) == 2
    assert "the cluster did not answer" in capsys.readouterr().err

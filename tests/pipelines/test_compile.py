"""The compiled pipelines: the files in the repository are what the source gives."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dgr.shards import ShardsConfig
from pipelines.align import align_of
from pipelines.compile import text_of, version_name

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "pipelines" / "align.yaml"
STUDY = ROOT / "pipelines" / "study.yaml"
STUDY_GPU = ROOT / "pipelines" / "study-gpu.yaml"
GPU = ROOT / "pipelines" / "align-gpu.yaml"
MANIFESTS = ROOT / "pipelines" / "manifests" / "align-gpu.yaml"
CRDS = ROOT.parent / "shared" / "crds"


def compile_pipeline(root: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines.compile", *flags]
    return subprocess.run(
        command,
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_files_are_up_to_date() -> None:
    done = compile_pipeline(ROOT, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_drift_is_told_by_file_and_mended_by_compiling(tmp_path: Path) -> None:
    for name in ("dgr", "components", "pipelines", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    config = tmp_path / "configs" / "cluster-gpu.yaml"
    config.write_text(config.read_text().replace("shm: 16Gi", "shm: 32Gi"))
    (tmp_path / "pipelines" / "align.yaml").write_text("")
    done = compile_pipeline(tmp_path, "--check")
    told = [line.split()[0] for line in done.stdout.splitlines()]
    changed = [tmp_path / path.relative_to(ROOT) for path in (COMPILED, GPU, STUDY_GPU, MANIFESTS)]
    assert (done.returncode, told) == (1, [str(path) for path in changed])
    assert compile_pipeline(tmp_path).returncode == 0
    assert changed[0].read_text() == COMPILED.read_text()
    assert "sizeLimit: 32Gi" in changed[1].read_text()
    assert version(changed[3])["metadata"]["name"] != version(MANIFESTS)["metadata"]["name"]


def version(manifests: Path) -> dict[str, Any]:
    return dict(list(yaml.safe_load_all(manifests.read_text()))[1])


def test_the_manifests_hold_the_compiled_pipeline_under_the_name_of_its_content() -> None:
    spec, platform = yaml.safe_load_all(GPU.read_text())
    pipeline, found = yaml.safe_load_all(MANIFESTS.read_text())
    assert (pipeline["kind"], found["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"]["name"] == found["spec"]["pipelineName"] == "dgr-align"
    assert found["metadata"]["name"] == version_name("dgr-align", GPU.read_text())
    assert found["spec"]["pipelineSpec"] == spec
    assert found["spec"]["platformSpec"] == platform


def crd_schema(kind: str) -> dict[str, Any]:
    """The schema of a resource; what the API server would prune is refused."""
    path = CRDS / f"pipelines.kubeflow.org_{kind}.yaml"
    [crd] = yaml.safe_load_all(path.read_text())
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in (schema, schema["properties"]["spec"]):
        part["additionalProperties"] = False
    return schema


@pytest.mark.skipif(not CRDS.is_dir(), reason=f"{CRDS} is not on this machine")
def test_the_manifests_are_what_the_cluster_takes() -> None:
    pipeline, found = yaml.safe_load_all(MANIFESTS.read_text())
    jsonschema.validate(pipeline, crd_schema("pipelines"))
    jsonschema.validate(found, crd_schema("pipelineversions"))
    found["spec"]["pipelineSpecs"] = found["spec"].pop("pipelineSpec")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, crd_schema("pipelineversions"))


def test_every_component_is_in_a_pipeline_and_installs_nothing() -> None:
    in_shards = text_of(align_of(ShardsConfig(refine=2, evaluate=2)))
    together = text_of(align_of(ShardsConfig(), one_engine=True))
    texts = [COMPILED.read_text(), STUDY.read_text(), in_shards, together]
    executors = [
        name for text in texts for name in yaml.safe_load(text)["deploymentSpec"]["executors"]
    ]
    used = {re.sub(r"^exec-|-\d+$", "", name).replace("-", "_") for name in executors}
    folders = {path.parent.name for path in (ROOT / "components").glob("*/component.py")}
    assert used == folders
    assert not any("pip install" in text for text in texts)


def test_the_cells_of_a_study_have_a_gpu_and_what_reads_them_has_none() -> None:
    _, platform = yaml.safe_load_all(STUDY_GPU.read_text())
    spec, _ = yaml.safe_load_all(STUDY_GPU.read_text())
    executors = spec["deploymentSpec"]["executors"]
    accelerated = {
        name.removeprefix("exec-")
        for name, executor in executors.items()
        if "accelerator" in executor["container"].get("resources", {})
    }
    assert accelerated == {"prepare", "cell"}
    assert set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == set(executors)


def test_what_is_outside_the_pipeline_is_looked_at_each_time() -> None:
    """Runs are recorded and models registered even where everything else is cached."""
    root = yaml.safe_load(COMPILED.read_text())
    tasks = [
        (name, task)
        for part in (root["root"], *root["components"].values())
        for name, task in part.get("dag", {}).get("tasks", {}).items()
        if "dag" not in root["components"][task["componentRef"]["name"]]
    ]
    uncached = {
        name for name, task in tasks if not task.get("cachingOptions", {}).get("enableCache")
    }
    assert uncached == {"champion", "record", "register", "finish"}

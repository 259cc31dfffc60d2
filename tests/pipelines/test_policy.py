"""What every task of a compiled pipeline must show before it may run on a cluster.

Each rule is tried on the pipeline as it is compiled, and on one that breaks it.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgr.cluster import ClusterConfig, TrainJobConfig
from dgr.cluster.config import GPU_STEPS, STEPS
from dgr.config import load_run_config
from dgr.settings import load_settings
from dgr.shards import ShardsConfig
from pipelines.align import align, align_of
from pipelines.cluster import align_on, on_cluster
from pipelines.compile import text_of
from pipelines.study import study

ROOT = Path(__file__).parents[2]
CONFIG = load_run_config(ROOT / "configs" / "cluster-gpu.yaml").cluster
NODES = CONFIG.model_copy(
    update={"training": load_settings(TrainJobConfig, ROOT / "configs" / "nodes" / "gpu.yaml")}
)
SHARDS = ShardsConfig(refine=3, evaluate=2)
Spec = dict[str, Any]


class Compiled:
    """A compiled pipeline: what each executor and each task of it says."""

    def __init__(self, documents: list[Spec], gpu_steps: frozenset[str] = GPU_STEPS) -> None:
        self.spec, self.platform = documents
        self.gpu_steps = gpu_steps

    @property
    def executors(self) -> dict[str, Spec]:
        return {
            name: value["container"]
            for name, value in self.spec["deploymentSpec"]["executors"].items()
        }

    @property
    def pods(self) -> dict[str, Spec]:
        kubernetes: Spec = self.platform["platforms"]["kubernetes"]
        return dict(kubernetes["deploymentSpec"]["executors"])

    def tasks(self) -> Iterator[tuple[str, Spec]]:
        """Every task that runs a container: executor, task."""
        parts = [self.spec["root"], *self.spec["components"].values()]
        for part in parts:
            for task in part.get("dag", {}).get("tasks", {}).values():
                component = self.spec["components"][task["componentRef"]["name"]]
                if "executorLabel" in component:
                    yield component["executorLabel"], task


def step_of(executor: str) -> str:
    return re.sub(r"^exec-|-\d+$", "", executor)


def image_as_configured(made: Compiled) -> Iterator[str]:
    for name, container in made.executors.items():
        kind = "train" if step_of(name) in made.gpu_steps else "runner"
        if container["image"] != getattr(CONFIG.images, kind):
            yield f"{name}: image {container['image']}"


def pinned_by_digest(made: Compiled) -> Iterator[str]:
    for name, container in made.executors.items():
        if not re.search(r"@sha256:[0-9a-f]{64}$", container["image"]):
            yield f"{name}: image {container['image']}"


def not_root(made: Compiled) -> Iterator[str]:
    for name in made.executors:
        context = made.pods.get(name, {}).get("securityContext", {})
        if context != {"runAsUser": "65532", "runAsGroup": "65532", "runAsNonRoot": True}:
            yield f"{name}: {context}"


def limits(made: Compiled) -> Iterator[str]:
    wanted = ["resourceCpuRequest", "resourceCpuLimit"]
    wanted += ["resourceMemoryRequest", "resourceMemoryLimit"]
    for name, container in made.executors.items():
        for field in wanted:
            if not container.get("resources", {}).get(field):
                yield f"{name}: {field}"
        if not any(mount.get("sizeLimit") for mount in made.pods[name].get("emptyDirMounts", [])):
            yield f"{name}: no limited scratch"


def gpu_steps_placed(made: Compiled) -> Iterator[str]:
    for name, container in made.executors.items():
        found = container.get("resources", {}).get("accelerator", {})
        pod = made.pods[name]
        shared = [
            mount
            for mount in pod.get("emptyDirMounts", [])
            if mount["mountPath"] == "/dev/shm" and mount.get("medium") == "Memory"
        ]
        placed = [
            found.get("resourceType") == "nvidia.com/gpu" and found.get("resourceCount") == "1",
            bool(pod.get("tolerations")),
            bool(pod.get("nodeSelector", {}).get("labels")),
            bool(shared),
        ]
        wanted = step_of(name) in made.gpu_steps
        if placed != [wanted] * len(placed):
            yield f"{name}: {placed}"


def no_secret_literal(made: Compiled) -> Iterator[str]:
    for name, container in made.executors.items():
        for variable in container.get("env", []):
            named = re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable["name"])
            if named or re.search(r"://[^/@]*:[^/@]+@", variable["value"]):
                yield f"{name}: {variable['name']}"
        for secret in made.pods[name].get("secretAsEnv", []):
            if "componentInputParameter" not in secret["secretNameParameter"]:
                yield f"{name}: {secret}"


def nothing_installed(made: Compiled) -> Iterator[str]:
    for name, container in made.executors.items():
        words = " ".join([*container.get("command", []), *container.get("args", [])])
        if re.search(r"\b(pip3?|uv|conda|apt-get|apt|curl|wget)\s+(-\S+ )*(install|http)", words):
            yield f"{name} installs"


def patience(made: Compiled) -> Iterator[str]:
    for name in made.executors:
        if int(made.pods[name].get("activeDeadlineSeconds", 0)) <= 0:
            yield f"{name}: no timeout"
    for name, task in made.tasks():
        policy = task.get("retryPolicy", {})
        if policy.get("maxRetryCount", 0) < 1 or policy.get("backoffDuration", "0s") == "0s":
            yield f"{name}: {policy}"


def labelled(made: Compiled) -> Iterator[str]:
    for name in made.executors:
        labels = made.pods[name].get("podMetadata", {}).get("labels", {})
        if labels.get("kueue.x-k8s.io/queue-name") != "gpu":
            yield f"{name}: {labels}"
        run = [env["fieldPath"] for env in made.pods[name].get("fieldPathAsEnv", [])]
        if run != ["metadata.labels['pipeline/runid']"]:
            yield f"{name}: {run}"


def cleaned_up(made: Compiled) -> Iterator[str]:
    config = made.platform["platforms"]["kubernetes"].get("pipelineConfig", {})
    for field in ("resourceTtlOnCompletion", "activeDeadlineSeconds"):
        if not config.get(field):
            yield f"no {field}"


Rule = Callable[[Compiled], Iterator[str]]
Break = Callable[[Compiled], object]


def container(made: Compiled, step: str = "sft") -> Spec:
    return made.executors[f"exec-{step}"]


def pod(made: Compiled, step: str = "sft") -> Spec:
    return made.pods[f"exec-{step}"]


def task_of(made: Compiled, step: str) -> Spec:
    return next(task for name, task in made.tasks() if step_of(name) == step)


BROKEN: list[tuple[Rule, Break]] = [
    (image_as_configured, lambda made: container(made).update(image="other:1")),
    (pinned_by_digest, lambda made: container(made, "gate").update(image="dgr-runner:latest")),
    (not_root, lambda made: pod(made).pop("securityContext")),
    (not_root, lambda made: pod(made, "finish")["securityContext"].update(runAsUser="0")),
    (limits, lambda made: container(made)["resources"].pop("resourceMemoryLimit")),
    (limits, lambda made: pod(made, "gate")["emptyDirMounts"][0].pop("sizeLimit")),
    (gpu_steps_placed, lambda made: container(made)["resources"].pop("accelerator")),
    (gpu_steps_placed, lambda made: pod(made, "evaluate-3").pop("tolerations")),
    (gpu_steps_placed, lambda made: pod(made, "own").pop("nodeSelector")),
    (gpu_steps_placed, lambda made: pod(made, "drift")["emptyDirMounts"].pop(0)),
    (gpu_steps_placed, lambda made: pod(made, "gate").update(tolerations=[{"key": "x"}])),
    (no_secret_literal, lambda made: container(made)["env"].append(
        {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"})),
    (no_secret_literal, lambda made: container(made)["env"].append(
        {"name": "MLFLOW_TRACKING_URI", "value": "http://me:secret@mlflow"})),
    (no_secret_literal, lambda made: pod(made)["secretAsEnv"][0].update(
        secretNameParameter={"runtimeValue": {"constant": "dgr-s3"}})),
    (nothing_installed, lambda made: container(made)["command"].append(
        "python3 -m pip install --quiet kfp")),
    (patience, lambda made: pod(made).pop("activeDeadlineSeconds")),
    (patience, lambda made: task_of(made, "finish").pop("retryPolicy")),
    (patience, lambda made: task_of(made, "sft")["retryPolicy"].update(backoffDuration="0s")),
    (labelled, lambda made: pod(made)["podMetadata"]["labels"].clear()),
    (labelled, lambda made: pod(made).pop("fieldPathAsEnv")),
    (cleaned_up, lambda made: made.platform["platforms"]["kubernetes"][
        "pipelineConfig"].pop("resourceTtlOnCompletion")),
]  # fmt: skip
RULES = list(dict.fromkeys(rule for rule, _ in BROKEN))


def documents_of(text: str) -> list[Spec]:
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def documents() -> list[Spec]:
    return documents_of(text_of(on_cluster(CONFIG)))


@pytest.fixture(scope="module")
def sharded_documents() -> list[Spec]:
    return documents_of(text_of(align_on(CONFIG, SHARDS)))


@pytest.fixture(scope="module")
def all_documents(documents: list[Spec], sharded_documents: list[Spec]) -> list[list[Spec]]:
    others = [align_on(CONFIG, ShardsConfig(), one_engine=True), on_cluster(CONFIG, study)]
    return [documents, sharded_documents, *(documents_of(text_of(each)) for each in others)]


def test_every_step_is_there_with_its_pod(all_documents: list[list[Spec]]) -> None:
    found: set[str] = set()
    for made in map(Compiled, all_documents):
        found |= {step_of(name) for name in made.executors}
        assert set(made.pods) == set(made.executors) == {name for name, _ in made.tasks()}
    assert found == STEPS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_pipelines_keep_the_rule(all_documents: list[list[Spec]], rule: Rule) -> None:
    for made in all_documents:
        assert list(rule(Compiled(made))) == []


@pytest.mark.parametrize("shards", [{"refine": 3}, {"evaluate": 2}])
def test_what_is_not_in_shards_is_as_it_was(documents: list[Spec], shards: dict[str, int]) -> None:
    whole = Compiled(documents)
    made = Compiled(documents_of(text_of(align_on(CONFIG, ShardsConfig(**shards)))))
    other = {
        step_of(name)
        for name, container in made.executors.items()
        if container != whole.executors.get(name)
    }
    assert other == {"merge"}
    assert [problem for rule in RULES for problem in rule(made)] == []


def test_each_sharded_step_has_a_loop_of_all_its_shards(sharded_documents: list[Spec]) -> None:
    components = sharded_documents[0]["components"]
    loops = {
        name: json.loads(task["parameterIterator"]["items"]["raw"])
        for name, part in components.items()
        for task in part.get("dag", {}).get("tasks", {}).values()
        if task["taskInfo"]["name"] == "shards"
    }
    two = ["1/2", "2/2"]
    assert loops == {
        "comp-refine-shards": ["1/3", "2/3", "3/3"],
        "comp-evaluate-base": two,
        "comp-evaluate-champion": two,
        "comp-evaluate-arm": two,
    }


def test_a_secret_has_its_name_wherever_it_is_asked_for(all_documents: list[list[Spec]]) -> None:
    """Each part of a pipeline knows the inputs that it is given, and no others."""
    for made in map(Compiled, all_documents):
        for part in [made.spec["root"], *made.spec["components"].values()]:
            known = part.get("inputDefinitions", {}).get("parameters", {})
            for task in part.get("dag", {}).get("tasks", {}).values():
                component = made.spec["components"][task["componentRef"]["name"]]
                for secret in made.pods.get(component.get("executorLabel"), {}).get(
                    "secretAsEnv", []
                ):
                    asked = secret["secretNameParameter"]["componentInputParameter"]
                    assert asked in known, (task["taskInfo"]["name"], asked)


def test_a_pipeline_within_that_nobody_placed_is_found_out() -> None:
    with pytest.raises(ValueError, match="refine-shards is a pipeline that nobody has placed"):
        on_cluster(CONFIG, align_of(SHARDS))


def test_a_step_that_follows_a_train_job_keeps_all_rules_without_a_gpu() -> None:
    made = Compiled(documents_of(text_of(on_cluster(NODES))), GPU_STEPS - {"sft"})
    assert [problem for rule in RULES for problem in rule(made)] == []
    assert int(pod(made)["activeDeadlineSeconds"]) == CONFIG.gpu.timeout_s


@pytest.mark.parametrize(("rule", "breaking"), BROKEN)
def test_a_broken_pipeline_is_found_out(documents: list[Spec], rule: Rule, breaking: Break) -> None:
    made = Compiled(copy.deepcopy(documents))
    breaking(made)
    assert len(list(rule(made))) == 1


def who_sees(made: Compiled, variable: str) -> set[str]:
    return {
        step_of(name)
        for name, found in made.pods.items()
        if any(
            entry["envVar"] == variable
            for secret in found["secretAsEnv"]
            for entry in secret["keyToEnv"]
        )
    }


def test_secrets_go_to_the_steps_that_need_them_under_names_that_a_run_can_change(
    documents: list[Spec], sharded_documents: list[Spec]
) -> None:
    made = Compiled(documents)
    inputs = made.spec["root"]["inputDefinitions"]["parameters"]
    assert inputs["secret_dgr_mlflow"]["defaultValue"] == "dgr-mlflow"
    assert who_sees(made, "MLFLOW_TRACKING_PASSWORD") == {"champion", "record", "register"}
    in_shards = Compiled(sharded_documents)
    assert who_sees(in_shards, "HF_TOKEN") == who_sees(made, "HF_TOKEN")
    assert "merge" in who_sees(in_shards, "AWS_SECRET_ACCESS_KEY")


def test_a_mounted_secret_is_files_of_its_steps_alone() -> None:
    signing = {"name": "signing-key", "mount": "/etc/dgr", "steps": ["register"]}
    cluster = ClusterConfig.model_validate({"secrets": [signing]})
    made = Compiled(documents_of(text_of(on_cluster(cluster))))
    mounts = {name: pod["secretAsVolume"] for name, pod in made.pods.items()
              if "secretAsVolume" in pod}  # fmt: skip
    assert list(mounts) == ["exec-register"]
    assert mounts["exec-register"][0]["mountPath"] == "/etc/dgr"


def test_without_a_config_steps_run_in_the_components_images_and_locally_nothing_changes() -> None:
    before = text_of(align)
    made = Compiled(documents_of(text_of(on_cluster(ClusterConfig()))))
    local = documents_of(before)[0]["deploymentSpec"]["executors"]
    assert {name: found["image"] for name, found in made.executors.items()} == {
        name: found["container"]["image"] for name, found in local.items()
    }
    assert text_of(align) == before
    assert "resources" not in before and "retryPolicy" not in before

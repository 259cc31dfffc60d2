"""The pages' commands exist, with the options that they are given."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from dgr.cli import app
from dgr.cluster import ClusterConfig, TrainJobConfig
from dgr.config import RunConfig, load_run_config
from dgr.registry import RegistryConfig
from dgr.settings import load_settings, parse_settings
from k8s.manifests import Object

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("cluster.md", "runbook.md", "airgapped.md")
COMPONENTS = DOCS.parent / "k8s/components"


def commands(page: str) -> Iterator[list[str]]:
    """`dgr models ...`, written out or by the runbook's alias."""
    for found in re.finditer(r"(?:^|-- )(?:promoter|dgr) (models .*)$", page, re.MULTILINE):
        yield shlex.split(found[1])


def test_commands_on_models_are_understood() -> None:
    group = typer.main.get_command(app)
    found = list(commands((DOCS / "runbook.md").read_text()))
    assert len(found) >= 12
    for words in found:
        context = group.make_context("dgr", list(words), resilient_parsing=False)
        _, models, rest = group.resolve_command(context, words)  # type: ignore[attr-defined]
        name, command, arguments = models.resolve_command(context, rest)
        command.make_context(name, list(arguments), parent=context)


def test_a_wrong_option_would_be_noticed() -> None:
    group = typer.main.get_command(app)
    models = group.commands["models"]  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="No such option"):
        models.commands["promote"].make_context("promote", ["my-model", "--reason", "x"])


@pytest.mark.parametrize("page", PAGES)
def test_what_kubectl_is_asked_for_is_there(page: str, rendered: dict[str, list[Object]]) -> None:
    objects = [value for each in rendered.values() for value in each]
    there = {(value["kind"].lower(), value["metadata"]["name"]) for value in objects}
    kinds = {"deploy": "deployment", "statefulset": "statefulset", "cronjob": "cronjob"}
    text = (DOCS / page).read_text()
    for kind, name in re.findall(r"\b(deploy|statefulset|cronjob)/([a-z0-9-]+)", text):
        assert (kinds[kind], name) in there, f"{page}: {kind}/{name}"


def test_every_component_and_overlay_is_described() -> None:
    page = (DOCS / "cluster.md").read_text()
    for folder in [*COMPONENTS.iterdir(), *(COMPONENTS.parent / "overlays").iterdir()]:
        assert f"`{folder.name}`" in page or f"components/{folder.name}" in page, folder.name


def test_links_lead_somewhere() -> None:
    for name in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (DOCS / name).read_text()):
            assert (DOCS / link).exists(), f"{name}: {link}"


def test_the_config_on_the_page_is_one() -> None:
    page = (DOCS / "cluster.md").read_text()
    (block,) = re.findall(r"```yaml\n(registry:.*?)```", page, re.DOTALL)
    sections = yaml.safe_load(block)
    assert RegistryConfig.model_validate(sections["registry"]).store == "s3://models"
    assert ClusterConfig.model_validate(sections["cluster"]).service_account == "dgr-runner"


def test_the_config_for_clusters_names_what_the_overlays_make(
    rendered: dict[str, list[Object]],
) -> None:
    config = load_run_config(DOCS.parent / "configs/cluster-gpu.yaml")
    there = {
        (value["kind"], value["metadata"].get("namespace", ""), value["metadata"]["name"])
        for value in rendered["gpu-kueue"]
    }
    assert ("ServiceAccount", "kubeflow", config.cluster.service_account) in there
    assert ("LocalQueue", "kubeflow", config.cluster.queue) in there
    assert ("WorkloadPriorityClass", "", config.cluster.priority) in there
    page = (DOCS / "cluster.md").read_text()
    for secret in config.cluster.secrets:
        if not secret.optional:
            assert f"| `{secret.name}` |" in page
            assert all(f"`{key}`" in page for key in secret.env.values())
    platform = next(
        value["data"]
        for value in rendered["local-kind"]
        if value["metadata"]["name"] == "dgr-platform"
    )
    assert config.registry.tracking_uri == platform["MLFLOW_TRACKING_URI"]
    assert config.cluster.env["AWS_ENDPOINT_URL"] == platform["AWS_ENDPOINT_URL"]


def test_training_and_serving_use_what_the_overlays_make(rendered: dict[str, list[Object]]) -> None:
    there = {
        (value["kind"], value["metadata"].get("namespace", ""), value["metadata"]["name"])
        for value in rendered["gpu-kueue"]
    }
    nodes = load_settings(TrainJobConfig, DOCS.parent / "configs/nodes/gpu.yaml")
    assert (nodes.runtime_kind, "dgr", nodes.runtime) in there
    assert ("LocalQueue", "dgr", nodes.queue) in there
    assert ("ServiceAccount", "dgr", nodes.service_account) in there
    # The page on training has a run's section of the same.
    page = (DOCS / "training.md").read_text()
    (block,) = re.findall(r"```yaml\n(sft:.*?)```", page, re.DOTALL)
    run = yaml.safe_load((DOCS.parent / "configs/cluster-gpu.yaml").read_text())
    for section, values in yaml.safe_load(block).items():
        run[section] |= values
    cluster = parse_settings(RunConfig, run, "docs/training.md").cluster
    assert cluster.training is not None and cluster.training.namespace == "dgr"
    assert (cluster.training.runtime, cluster.training.queue) == (nodes.runtime, nodes.queue)
    assert cluster.training.service_account == nodes.service_account
    assert ("ServiceAccount", "kubeflow", cluster.service_account) in there
    serving = load_run_config(DOCS.parent / "configs/cluster-gpu.yaml").serving
    assert ("ServingRuntime", "dgr", serving.runtime) in there
    assert ("ServiceAccount", "dgr", serving.service_account) in there
    assert f"| `{nodes.secret}` |" in (DOCS / "cluster.md").read_text()

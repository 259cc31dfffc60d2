"""The pages' commands exist, with the options that they are given."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from dgr.cli import app
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

"""Components are thin: one library call each, and nothing that a pod must fetch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "components"
MODULES = sorted(ROOT.glob("*/component.py"))
MOST_STATEMENTS = 4
"""Imports, docstring and the parts of an expression are not counted."""


def component(path: Path) -> ast.FunctionDef:
    [found] = [node for node in ast.parse(path.read_text()).body if type(node) is ast.FunctionDef]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_a_component_is_a_thin_face(path: Path) -> None:
    body = component(path).body[1:]  # after the docstring
    statements = [
        node
        for part in body
        for node in ast.walk(part)
        if isinstance(node, ast.stmt) and not isinstance(node, ast.ImportFrom)
    ]
    assert 1 <= len(statements) <= MOST_STATEMENTS
    assert ast.get_docstring(component(path))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_a_component_names_an_image_and_installs_nothing(path: Path) -> None:
    [decorator] = component(path).decorator_list
    assert isinstance(decorator, ast.Call)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in decorator.keywords}
    assert given["install_kfp_package"] == "False"
    assert given["base_image"] in ("RUNNER", "TRAIN")
    assert set(given) == {"install_kfp_package", "base_image"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_the_package_exports_its_component(path: Path) -> None:
    init = (path.parent / "__init__.py").read_text()
    name = component(path).name
    assert f"from components.{path.parent.name}.component import {name}\n" in init

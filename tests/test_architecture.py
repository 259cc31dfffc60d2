"""The stream runs one way: who may import whom (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = {"data", "refine", "own", "arms", "shift", "sft", "evaluate", "gate", "registry", "report"}
TOP = {"config", "checks", "plan", "probe", "cli", "serving", "study"}
HEAVY = {"torch", "transformers", "trl", "peft", "mlflow", "kfp", "scipy", "sentence_transformers",
         "model_signing", "cryptography", "inspect_ai"}  # fmt: skip


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"{folder} holds no module"
    return found


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "dgr" and len(parts) > 1 else ""


@pytest.mark.parametrize("path", modules("dgr"), ids=lambda path: str(path.relative_to(ROOT)))
def test_library_imports_downwards(path: Path) -> None:
    own = path.relative_to(ROOT / "dgr").with_suffix("").parts[0]
    for module in imports(path):
        root = module.split(".")[0]
        assert root not in {"kfp", "kfp_kubernetes", "kubernetes", "components"}, module
        assert root not in {"pipelines", "k8s"} or own == "cli", f"{path} imports {module}"
        other = package_of(module)
        if own in STEPS:
            assert other == own or other not in STEPS | TOP | {"nano"}, f"{path} imports {module}"
        elif own not in TOP | {"nano"}:
            allowed_judge = own == "judges" and other == "judges"
            assert allowed_judge or other not in STEPS | TOP | {"nano"}, f"{path} imports {module}"
        elif own == "nano":
            assert other not in TOP, f"{path} imports {module}"


@pytest.mark.parametrize("path", sorted((ROOT / "dgr").rglob("config.py")), ids=str)
def test_config_models_import_nothing_heavy(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path)} & HEAVY


def test_components_import_only_kfp_at_the_top() -> None:
    import sys

    for path in modules("components"):
        for module in imports(path, top_level_only=True):
            root = module.split(".")[0]
            assert root in {"kfp", "components"} or root in sys.stdlib_module_names, (path, module)


def test_cluster_operations_know_no_pipeline_and_load_the_client_late() -> None:
    for path in modules("k8s"):
        roots = {module.split(".")[0] for module in imports(path)}
        assert not roots & {"kfp", "kfp_kubernetes", "components", "pipelines"}, path
        early = {module.split(".")[0] for module in imports(path, top_level_only=True)}
        assert not early & (HEAVY | {"kubernetes", "urllib3"}), path


def test_pipelines_do_not_reach_into_steps() -> None:
    for path in modules("pipelines"):
        for module in imports(path):
            assert package_of(module) not in STEPS, f"{path} imports {module}"

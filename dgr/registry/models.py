"""What the registry holds, for people and scripts."""

from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.registry.tracking import client

RUNS = Path("runs")


def list_models(tracking_uri: str | None = None) -> list[dict[str, Any]]:
    """Every version of every registered model, newest first."""
    mlflow = client(tracking_uri, RUNS)
    models = mlflow.search_registered_models()
    return [
        _describe(mlflow, version)
        for model in models
        for version in mlflow.search_model_versions(f"name = '{model.name}'")
    ]


def show_model(name: str, version: str, tracking_uri: str | None = None) -> dict[str, Any]:
    """One version, by number or alias."""
    from mlflow.exceptions import MlflowException

    mlflow = client(tracking_uri, RUNS)
    try:
        if version.isdigit():
            found = mlflow.get_model_version(name, version)
        else:
            found = mlflow.get_model_version_by_alias(name, version)
    except MlflowException:
        raise UserError(
            f"the registry has no version or alias '{version}' of model '{name}'; "
            "`dgr models list` shows what there is"
        ) from None
    return _describe(mlflow, found)


def _describe(mlflow: Any, version: Any) -> dict[str, Any]:
    # A search leaves aliases out, so they are asked for.
    aliases = mlflow.get_model_version(version.name, version.version).aliases
    return {
        "name": version.name,
        "version": str(version.version),
        "aliases": sorted(aliases),
        "source": version.source,
        "run": version.run_id,
        "tags": dict(sorted(version.tags.items())),
    }

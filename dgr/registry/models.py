"""What the registry holds, for people and scripts."""

import os
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.registry.config import RegistryConfig
from dgr.registry.journal import is_journal, search_versions
from dgr.registry.registry import open_registry
from dgr.registry.tracking import URI_ENV, client, embedded_file, told
from dgr.registry.tracking import tracking_uri as resolve

_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
RUNS = Path("runs")
"""The folder of runs whose embedded store is looked into."""


def list_models(tracking_uri: str | None = None, home: Path = RUNS) -> list[dict[str, Any]]:
    """Every version of every registered model, newest first."""
    if nothing_there(tracking_uri, home):
        return []
    uri = resolve(tracking_uri, home)
    tracker = client(uri)
    with told(uri):
        return [
            _describe(tracker, version)
            for model in tracker.search_registered_models()
            if not is_journal(model)
            for version in reversed(search_versions(tracker, model.name))
        ]


def champion_source(config: RegistryConfig, home: Path | None) -> str:
    """Where the champion's bundle is; empty where there is none or the config wants none."""
    if not config.compare_with_champion or nothing_there(config.tracking_uri, home):
        return ""
    registry = open_registry(config, home)
    digest = registry.history().champion_bundle
    return registry.source(digest) if digest else ""


def show_model(
    name: str, version: str, tracking_uri: str | None = None, home: Path = RUNS
) -> dict[str, Any]:
    """One version, by number or alias."""
    from mlflow.exceptions import MlflowException

    unknown = UserError(
        f"the registry has no version or alias '{version}' of model '{name}'; "
        "`dgr models list` shows what there is"
    )
    if nothing_there(tracking_uri, home):
        raise unknown
    uri = resolve(tracking_uri, home)
    tracker = client(uri)
    with told(uri):
        try:
            if version.isdigit():
                found = tracker.get_model_version(name, version)
            else:
                found = tracker.get_model_version_by_alias(name, version)
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            raise unknown from None
        return _describe(tracker, found)


def nothing_there(tracking_uri: str | None, home: Path | None) -> bool:
    """No server is named and no run was recorded in `home`: looking must not make a store."""
    named = tracking_uri or os.environ.get(URI_ENV)
    return not (named or (home and embedded_file(home).is_file()))


def _describe(tracker: Any, version: Any) -> dict[str, Any]:
    # A search leaves aliases out, so they are asked for.
    aliases = tracker.get_model_version(version.name, version.version).aliases
    return {
        "name": version.name,
        "version": str(version.version),
        "aliases": sorted(aliases),
        "source": version.source,
        "run": version.run_id,
        "tags": dict(sorted(version.tags.items())),
    }

"""The end of a run: run.json, decision.json and report.html in the run's place."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from dgr import __version__
from dgr.files import read_json, write_json
from dgr.report.build import build_report
from dgr.runtime import StepSettings, local_run
from dgr.settings import parse_settings
from dgr.steps import TIMING, code_digest
from dgr.storage import open_store

PACKAGES = ("torch", "transformers", "trl", "peft", "kfp", "mlflow", "numpy", "scipy")
FILES = ("run.json", "decision.json", "report.html")


def finish_run(settings: str, *, state: str, error: str) -> None:
    """Write what a run leaves at its root, whatever became of it.

    `settings` is a component's (its config is the whole run's), `state` the pipeline's final
    state, `error` its message.
    """
    parsed = parse_settings(StepSettings, json.loads(settings), "the component's settings")
    with local_run(parsed.run) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "run.json", _run(parsed, folder, state, error))
        decided = folder / "gate" / "decision.json"
        if decided.is_file():
            write_json(folder / "decision.json", read_json(decided))
        build_report(folder, folder / "report.html")
        if "://" in parsed.run:
            store = open_store(parsed.run)
            for name in FILES:
                if (folder / name).is_file():
                    store.put_file(folder / name, name)


def _run(settings: StepSettings, folder: Path, state: str, error: str) -> dict[str, Any]:
    return {
        "name": settings.config.get("name"),
        "status": state,
        "error": error or None,
        "seed": settings.seed,
        "config": settings.config,
        "code": code_digest(),
        "versions": {"dgr": __version__, "python": platform.python_version(), **_versions()},
        "steps": {
            path.parent.relative_to(folder).as_posix(): read_json(path)
            for path in sorted(folder.glob(f"**/{TIMING}"))
            if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        },
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

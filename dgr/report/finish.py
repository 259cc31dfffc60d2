"""The end of a run: run.json, decision.json and report.html in the run's place."""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dgr import __version__
from dgr.errors import UserError
from dgr.files import read_json, sha256_file, sha256_text, write_bytes, write_json
from dgr.notify import Event, EventKind, NotifyConfig, notify
from dgr.report.build import build_report
from dgr.runtime import ERROR_ENV, StepSettings, leave, local_run, read_settings
from dgr.settings import parse_settings
from dgr.steps import TIMING, code_digest, package_versions
from dgr.storage import open_store

FILES = ("run.json", "decision.json", "report.html")


def finish_run(settings: str, *, state: str, error: str | None) -> None:
    """Write what a run leaves at its root, whatever became of it.

    `settings` is a component's (its config is the whole run's), `state` the pipeline's state,
    `error` its message, which the failed step's own sentence replaces where that is known.
    """
    try:
        told = read_settings(settings)
        _finish(told, state, error := _sentence() or error or None)
        if state != "RUNNING":
            _notify(told, state, error)
    except (UserError, OSError) as problem:
        leave("finish", problem)
        raise


def _finish(settings: StepSettings, state: str, error: str | None) -> None:
    with local_run(settings.run) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "run.json", _run(settings, folder, state, error))
        decided = folder / "gate" / "decision.json"
        if decided.is_file():
            write_bytes(folder / "decision.json", decided.read_bytes())
        build_report(folder, folder / "report.html")
        if "://" in settings.run:
            store = open_store(settings.run)
            for name in FILES:
                if (folder / name).is_file():
                    store.put_file(folder / name, name)


def _notify(settings: StepSettings, state: str, error: str | None) -> None:
    """Tell whoever wants to know what the gate said, or why there is no verdict."""
    config = parse_settings(NotifyConfig, settings.config.get("notify", {}), "notify")
    if not config.targets:
        return
    name = str(settings.config.get("name"))
    with local_run(settings.run) as folder:
        decision = folder / "decision.json"
        if state == "FAILED" or not decision.is_file():
            text = f"run {name} failed: {error or 'see its logs'}"
            notify(config, Event(kind=EventKind.FAILED, run=name, text=text))
            return
        found, digest = read_json(decision), sha256_file(decision)
    why = f": {'; '.join(found['reasons'])}" if found["reasons"] else ""
    event = Event(
        # The same verdict again, from the cache, is no news.
        id=sha256_text(f"{name} {digest}"),
        kind=EventKind.VERDICT,
        run=name,
        digest=digest,
        text=f"run {name}: {found['candidate']} {found['verdict']}{why}",
    )
    notify(config, event)


def _sentence() -> str:
    """What the step that failed left on this machine."""
    place = Path(os.environ.get(ERROR_ENV, ""))
    return place.read_text() if place.is_file() else ""


def _run(settings: StepSettings, folder: Path, state: str, error: str | None) -> dict[str, Any]:
    steps = {
        path.parent.relative_to(folder).as_posix(): read_json(path)
        for path in sorted(folder.glob(f"**/{TIMING}"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    # Steps that load a model may have run in an image with packages that this one lacks.
    versions = package_versions()
    for step in steps.values():
        versions |= step.pop("versions", {})
    first = min((step["started"] for step in steps.values()), default=time.time())
    started = settings.options.get("started", first)
    return {
        "name": settings.config.get("name"),
        "status": state,
        "error": error,
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "peak_rss_mib": max((step["peak_rss_mib"] for step in steps.values()), default=None),
        "seed": settings.seed,
        "config": settings.config,
        "code": code_digest(),
        "versions": {"dgr": __version__, "python": platform.python_version(), **versions},
        "steps": steps,
    }

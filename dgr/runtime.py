"""What every component does around its one library call, on one machine and in a pod.

    with Component(settings, out.path, "refine") as component:
        refine(component.read(RefineConfig), ..., out=component.out, seed=component.seed)
    out.metadata["digest"] = component.digest

Settings come as one JSON string a step, so that a step's cache knows nothing of other steps.
The finished folder is published under the run's place, where reports and people find it.
"""

import ctypes
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import Field

from dgr.engines.config import EngineConfig
from dgr.errors import UserError
from dgr.files import write_text
from dgr.settings import Settings, parse_settings
from dgr.steps import manifest_digest
from dgr.storage import open_store

ERROR_ENV = "DGR_ERROR_FILE"
"""Environment variable that names a file for the sentence of a component's `UserError`."""
_PR_SET_PDEATHSIG = 1  # prctl(2)

SettingsT = TypeVar("SettingsT", bound=Settings)


class StepSettings(Settings):
    """What one component is told: its config, and what its result depends on besides."""

    config: dict[str, Any]
    """The step's section of the run's config."""
    seed: int
    """The run's seed."""
    run: str
    """The run's place: a folder or s3://bucket/prefix."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Config of the engine, for steps that generate or score."""
    model: str = ""
    """The target: a local folder or a Hub id."""
    revision: str | None = None
    """Revision of a Hub model."""
    digests: dict[str, str] = Field(default_factory=dict)
    """Digests of files that the step reads from outside the run, and of the code."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What else the step needs."""


class Component:
    """The frame of a component: settings in, a published step folder out."""

    def __init__(self, settings: str, out: str, name: str) -> None:
        self.settings = parse_settings(
            StepSettings, json.loads(settings), "the component's settings"
        )
        self.out, self.name = Path(out), name
        self.seed = self.settings.seed
        self.options = self.settings.options

    def __enter__(self) -> "Component":
        die_with_parent()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, UserError):
            report_error(f"{self.name}: {error}")
        if kind is None:
            open_store(self.settings.run).put_folder(self.out, self.name)

    def read(self, kind: type[SettingsT]) -> SettingsT:
        """The step's own config model."""
        return parse_settings(kind, self.settings.config, self.name)

    @property
    def engine(self) -> EngineConfig:
        return parse_settings(EngineConfig, self.settings.engine, "engine")

    @property
    def model(self) -> Path:
        from dgr.engines import resolve_model

        return resolve_model(self.settings.model, self.settings.revision)

    @property
    def runs(self) -> Path:
        """The folder that holds the runs; the working folder when they are in a remote store."""
        place = self.settings.run
        return Path() if "://" in place else Path(place).parent

    @contextmanager
    def run_folder(self) -> Iterator[Path]:
        """The run's published steps in a local folder: the place itself, or a copy of it."""
        with local_run(self.settings.run) as folder:
            yield folder

    @property
    def digest(self) -> str:
        """The digest that downstream components are cached by."""
        return manifest_digest(self.out)


@contextmanager
def local_run(place: str) -> Iterator[Path]:
    """The run at `place` as a local folder; from a remote store, a copy for the while."""
    if "://" not in place:
        yield Path(place)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / place.rstrip("/").rpartition("/")[2]
        root, _, name = place.rstrip("/").rpartition("/")
        open_store(root).get_folder(name, folder)
        yield folder


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent: no orphan goes on writing after a kill."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def report_error(sentence: str) -> None:
    """Leave the sentence where the process that started the component looks for it."""
    place = os.environ.get(ERROR_ENV)
    if place:
        write_text(Path(place), sentence)

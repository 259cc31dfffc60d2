"""What every component does around its one library call, on one machine and in a pod.

    with Component(settings, out, "refine") as step:
        refine(step.read(RefineConfig), data=step.input(data), out=step.out, seed=step.seed)

Settings come as one JSON string a step, so that a step's cache knows nothing of other steps.
The finished folder is published under the run's place, where reports and people find it, and
the output artifact gets the folder's digest, by which the steps after it are cached.
"""

import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from pydantic import Field

from dgr.engines.config import EngineConfig
from dgr.errors import Interrupted, UserError
from dgr.files import write_json, write_text
from dgr.settings import Settings, parse_settings
from dgr.shards import Shard
from dgr.steps import MANIFEST, manifest_digest
from dgr.storage import open_store

ERROR_ENV = "DGR_ERROR_FILE"
"""Environment variable that names a file for the sentence of a component's `UserError`."""
SKIPPED = "skipped.json"
"""The one file of a step that was not wanted. Folders without any file are lost in a store."""
UNPUBLISHED = "unpublished"
"""In an artifact's metadata: what the step left is for the steps after it alone."""
_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)

SettingsT = TypeVar("SettingsT", bound=Settings)


class StepSettings(Settings):
    """What one component is told: its config, and what its result depends on besides."""

    config: dict[str, Any]
    """The step's section of the run's config."""
    seed: int
    """The run's seed."""
    run: str
    """The run's place: a folder or s3://bucket/prefix."""
    wanted: bool = True
    """False where no later step of this run needs the result: the component does nothing."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Config of the engine, for steps that generate or score."""
    model: str = ""
    """The target, for steps that load it: a local folder or a Hub id."""
    revision: str | None = None
    """Revision of a Hub model."""
    digests: dict[str, str] = Field(default_factory=dict)
    """Digests of files that the step reads from outside the run, and of the code."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What else the step needs."""


class _Engine(Settings):
    """An engine of any kind."""

    engine: EngineConfig


class Artifact(Protocol):
    """What this module knows of a KFP artifact."""

    metadata: dict[str, Any]

    @property
    def path(self) -> str: ...


def read_settings(settings: str) -> StepSettings:
    return parse_settings(StepSettings, json.loads(settings), "the component's settings")


class Reader:
    """The frame of a component that leaves no folder: settings in.

    A `UserError` ends the process with its sentence and exit code 2, without a traceback.
    """

    def __init__(self, settings: str, name: str) -> None:
        self.settings, self.name = read_settings(settings), name
        self.options = self.settings.options

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._publish()
            except UserError as problem:
                leave(self.name, problem)
        else:
            leave(self.name, error)

    def _publish(self) -> None: ...

    def read(self, kind: type[SettingsT]) -> SettingsT:
        """The step's own config model."""
        return parse_settings(kind, self.settings.config, self.name)

    @property
    def runs(self) -> Path | None:
        """The folder that holds the runs; None when they are in a remote store."""
        place = self.settings.run
        return None if "://" in place else Path(place).parent


class Component(Reader):
    """The frame of a component: settings in, a published step folder out.

    `name` is the step's folder below the run's place; `sft/dgr` is the step `sft` of arm `dgr`.
    What is not `published` is no step of the run by itself: a `shard` (`2/4`) until it is merged.
    """

    def __init__(
        self, settings: str, out: Artifact, name: str, shard: str = "", published: bool = True
    ) -> None:
        super().__init__(settings, name)
        self.shard = Shard.parse(shard)
        self.published = published and not self.shard
        self.out = Path(out.path)
        self.seed = self.settings.seed
        self.wanted = self.settings.wanted
        """Whether there is anything to do."""
        self._artifact = out

    def skip(self) -> None:
        """Say that there is nothing to do."""
        self.wanted = False

    def _publish(self) -> None:
        if not self.wanted:
            write_json(self.out / SKIPPED, {"step": self.name})
            self._artifact.metadata["skipped"] = "true"
            return
        step, _, arm = self.name.partition("/")
        self._artifact.metadata.update(digest=manifest_digest(self.out), step=step)
        if arm:
            self._artifact.metadata["arm"] = arm
        if not self.published:
            self._artifact.metadata[UNPUBLISHED] = "true"
        else:
            publish(self.out, self.settings.run, self.name)

    @property
    def engine(self) -> EngineConfig:
        return parse_settings(_Engine, {"engine": self.settings.engine}, self.name).engine

    @property
    def model(self) -> Path:
        return self.model_at(None)

    def model_at(self, source: str | None) -> Path:
        """The local folder of the model at `source`; None: of the target."""
        from dgr.engines import resolve_model

        revision = self.settings.revision if source is None else None
        return resolve_model(source or self.settings.model, revision)

    def input(self, artifact: Artifact) -> Path:
        """The folder of a step that this one reads, checked to be the one that was meant."""
        folder = Path(artifact.path)
        if not (folder / MANIFEST).is_file():
            raise UserError(f"{folder} is not a finished step; delete it and run again")
        if manifest_digest(folder) != artifact.metadata.get("digest"):
            raise UserError(f"{folder} was changed after it was written; delete it and run again")
        return folder

    def optional_input(self, artifact: Artifact) -> Path | None:
        """The same; None for a step that was not wanted."""
        return None if artifact.metadata.get("skipped") else self.input(artifact)

    def inputs(self, artifacts: Iterable[Artifact]) -> dict[str, Path]:
        """The same for one artifact an arm: arm -> folder."""
        return {artifact.metadata["arm"]: self.input(artifact) for artifact in artifacts}

    def wanted_of(self, artifacts: Iterable[Artifact]) -> list[Artifact]:
        """Those that their component had anything to do for."""
        return [artifact for artifact in artifacts if not artifact.metadata.get("skipped")]

    @contextmanager
    def run_folder(self, *steps: str) -> Iterator[Path]:
        """The run in a local folder: the place itself, or a copy of the named steps."""
        with local_run(self.settings.run, steps) as folder:
            yield folder


def publish(folder: Path, run: str, name: str) -> None:
    """Put a finished step where people and reports find it: at `name` below the run's place."""
    open_store(run).put_folder(folder, name)


@contextmanager
def local_run(place: str, steps: Sequence[str] = ()) -> Iterator[Path]:
    """The run at `place` as a local folder.

    From a remote store it is a copy for the while: whole folders of the named `steps`, and
    everything but weights of the others.
    """
    if "://" not in place:
        yield Path(place)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / place.rstrip("/").rpartition("/")[2]
        folder.mkdir()
        store = open_store(place)
        for key in store.list():
            wanted = any(key.startswith(f"{step}/") for step in steps)
            if wanted or not {"model", "adapter"} & set(Path(key).parent.parts):
                store.get_file(key, folder / key)
        yield folder


def leave(name: str, error: BaseException) -> None:
    """End the process where the error is one to tell in a sentence; return where it is a bug."""
    code = 2
    if isinstance(error, Interrupted):
        code, sentence = error.exit_code, f"{name}: {error}"
    elif isinstance(error, UserError):
        sentence = f"{name}: {error}"
    elif isinstance(error, OSError) and error.errno in _NO_PLACE:
        sentence = f"{name}: cannot write {error.filename or 'the output'}: {error.strerror}"
    else:
        return
    print(f"dgr: {sentence}", file=sys.stderr, flush=True)
    place = os.environ.get(ERROR_ENV)
    if place:
        with suppress(UserError):  # a full disk: the printed sentence has to do
            write_text(Path(place), sentence)
    raise SystemExit(code) from None

"""What cells share, computed once: step folders named by what they were told.

    steps = SharedSteps("runs/nano/shared", scratch)
    data = steps.make("ingest", [config, seed, digest], lambda out: ingest(config, out=out, ...))

Of two cells that want the same step at once, on one machine, the second waits for the first. In
a store, where there are no locks, both would make it, to the same bytes.
"""

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dgr.files import canonical_json, sha256_text, unwritable
from dgr.steps import MANIFEST, manifest_digest
from dgr.storage import open_store


class SharedSteps:
    """Finished steps at `place`: a folder, or a prefix of a store with copies in `scratch`."""

    def __init__(self, place: str, scratch: Path) -> None:
        self._store = open_store(place) if "://" in place else None
        self._root = scratch if self._store else Path(place)

    def make(self, step: str, told: Sequence[Any], work: Callable[[Path], None]) -> Path:
        """The folder of a step, made by `work` unless it is there.

        `work` gets the folder every time, for a step knows itself whether it is finished.
        """
        key = f"{step}/{sha256_text(canonical_json(list(told)))[:20]}"
        folder = self._root / key
        if self._store is None:
            _locked(folder, lambda: work(folder))
            return folder
        before = None
        if self._store.exists(f"{key}/{MANIFEST}"):
            self._store.get_folder(key, folder)
            before = manifest_digest(folder)
        work(folder)
        if manifest_digest(folder) != before:
            self._store.put_folder(folder, key)
        return folder


def _locked(folder: Path, work: Callable[[], None]) -> None:
    """The lock goes with the process, however that ends."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work()
    finally:
        os.close(lock)

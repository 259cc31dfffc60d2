"""What a store holds, as local files: fetched once for all runs of this machine."""

import os
from pathlib import Path

from dgr.files import sha256_file
from dgr.storage.store import open_store

CACHE_ENV = "DGR_CACHE"
"""Environment variable that names the folder of fetched models and files; else ~/.cache/dgr."""
REMOTE = "s3://"


def cache_folder(kind: str) -> Path:
    """Where fetched things of one kind are kept."""
    return Path(os.environ.get(CACHE_ENV, "~/.cache/dgr")).expanduser() / kind


def file_digest(source: str) -> str | None:
    """SHA-256 of a file, local or stored; None for a local one that is not there."""
    if source.startswith(REMOTE):
        place, _, name = source.rpartition("/")
        return open_store(place).sha256(name)
    path = fetch_file(source)
    return sha256_file(path) if path.is_file() else None


def fetch_file(source: str) -> Path:
    """The local path of a file: `source` itself, or a copy of what `s3://bucket/key` holds now.

    The copy lies under its digest, so a file that changed is fetched anew.
    """
    if not source.startswith(REMOTE):
        return Path(source.removeprefix("file://"))
    place, _, name = source.rpartition("/")
    store = open_store(place)
    digest = store.sha256(name)
    copy = cache_folder("files") / digest[:20] / name
    if not copy.is_file():
        store.get_file(name, copy, digest)
    return copy

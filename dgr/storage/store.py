"""What a store can do, and which one a URI means."""

from pathlib import Path, PurePosixPath
from typing import Protocol

from dgr.errors import UserError
from dgr.steps import MANIFEST


class Store(Protocol):
    """Files under keys such as `evaluate/dgr/records.jsonl`.

    A file appears whole or not at all. A folder is put file by file, its `manifest.json` last
    and a former one removed first, so a folder that is half put is never a result.
    Every method raises `UserError` for what is missing, refused or unreachable.
    """

    uri: str
    """The store itself: an absolute folder or s3://bucket/prefix."""

    def put_folder(self, local: Path, key: str) -> None:
        """Make `key` hold the files of a folder, and no others."""
        ...

    def get_folder(self, key: str, local: Path) -> None:
        """Fetch every file under `key` into a folder; raises when there is none."""
        ...

    def put_file(self, local: Path, key: str) -> None: ...

    def get_file(self, key: str, local: Path) -> None: ...

    def read_text(self, key: str) -> str: ...

    def exists(self, key: str) -> bool:
        """Whether a file of that very key is there."""
        ...

    def list(self, key: str = "") -> list[str]:
        """Keys of all files under `key` (everything if not given), sorted."""
        ...

    def uri_of(self, key: str) -> str: ...


def open_store(uri: str) -> Store:
    """The store behind `s3://bucket/prefix`, `file:///folder` or a plain path. Makes no call."""
    if uri.startswith("s3://"):
        from dgr.storage.s3 import S3Store

        return S3Store(uri)
    if "://" in uri and not uri.startswith("file:///"):
        raise UserError(f"{uri} is no store: use a folder or s3://bucket/prefix")
    from dgr.storage.folder import FolderStore

    return FolderStore(Path(uri.removeprefix("file://")))


def clean_key(key: str) -> str:
    """A key in one spelling; `UserError` when it is empty or leaves the store."""
    parts = PurePosixPath(key).parts
    if not parts or ".." in parts or key.startswith("/"):
        raise UserError(f"'{key}' is no key of a store")
    return "/".join(parts)


def files_to_put(folder: Path) -> dict[str, Path]:
    """Relative name -> file, the folder's own manifest last; unfinished work is no part of it."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.relative_to(folder).parts
    }
    if MANIFEST in found:
        found[MANIFEST] = found.pop(MANIFEST)
    return found

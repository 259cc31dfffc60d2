"""What a store can do, and which one a URI means."""

from pathlib import Path, PurePosixPath
from typing import Protocol

from dgr.errors import UserError
from dgr.files import sha256_file
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

    def get_file(self, key: str, local: Path, sha256: str | None = None) -> None:
        """Fetch one file; raises when it is not the content of that SHA-256."""
        ...

    def create_file(self, local: Path, key: str, sha256: str) -> None:
        """Put a file at a key that is never overwritten.

        `sha256` is what `local` must hold. Nothing happens when the key holds that content
        already; raises when it holds another.
        """
        ...

    def create_text(self, key: str, text: str) -> bool:
        """Put a small file if the key is free; False when it is not, whatever it holds."""
        ...

    def read_text(self, key: str) -> str: ...

    def read_bytes(self, key: str) -> bytes: ...

    def sha256(self, key: str) -> str:
        """Digest of what the store holds now: read again, not remembered."""
        ...

    def size(self, key: str) -> int:
        """Bytes of a file."""
        ...

    def delete(self, key: str) -> None:
        """Remove a file; nothing happens when there is none."""
        ...

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


def as_text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text: {error.reason}") from None


def clean_key(key: str) -> str:
    """A key in one spelling; `UserError` when it is empty or leaves the store."""
    parts = PurePosixPath(key).parts
    if not parts or ".." in parts or key.startswith("/"):
        raise UserError(f"'{key}' is no key of a store")
    return "/".join(parts)


def check_file(local: Path, sha256: str) -> None:
    """Raises when a file is not what its digest says."""
    found = sha256_file(local)
    if found != sha256:
        raise changed(local, found, sha256)


def changed(local: Path, found: str, sha256: str) -> UserError:
    return UserError(
        f"{local} has SHA-256 {found} instead of {sha256}: it changed after its digest was taken"
    )


def other_content(uri: str, local: Path) -> UserError:
    return UserError(
        f"{uri} holds other content than {local} and is never overwritten; "
        "delete it or choose another key"
    )


def is_unfinished(path: Path) -> bool:
    """Whether a file is unfinished work of a step, or half a file of a killed process."""
    half = path.name.startswith(".") and path.suffix in (".part", ".tmp")
    return ".work" in path.parts or half


def files_to_put(folder: Path) -> dict[str, Path]:
    """Relative name -> file, the folder's own manifest last; unfinished work is no part of it."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_unfinished(path.relative_to(folder))
    }
    if MANIFEST in found:
        found[MANIFEST] = found.pop(MANIFEST)
    return found

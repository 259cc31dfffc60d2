"""Stores: a folder, or a prefix of an S3 bucket.

Folders are put file by file, `manifest.json` last, so that a half-uploaded folder has none.
S3 credentials and endpoint come from boto3's own chain (`AWS_ENDPOINT_URL` and the like).
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from dgr.errors import UserError
from dgr.files import unwritable
from dgr.steps import MANIFEST


class Store(Protocol):
    """Files under keys such as `evaluate/dgr/records.jsonl`."""

    uri: str

    def put_folder(self, local: Path, key: str) -> None:
        """Store every file of a folder, its manifest last; what is there already is replaced."""
        ...

    def get_folder(self, key: str, local: Path) -> None: ...

    def put_file(self, local: Path, key: str) -> None: ...

    def read_text(self, key: str) -> str: ...

    def exists(self, key: str) -> bool: ...

    def uri_of(self, key: str) -> str: ...


def open_store(uri: str) -> Store:
    """The store behind `s3://bucket/prefix`, `file:///folder` or a plain path."""
    if uri.startswith("s3://"):
        return S3Store(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise UserError(f"{uri} is no store: use a folder or s3://bucket/prefix")
    return FolderStore(Path(uri.removeprefix("file://")))


class FolderStore:
    """A store in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def put_folder(self, local: Path, key: str) -> None:
        target = self.root / _clean(key)
        if target.is_dir():
            shutil.rmtree(target)
        for path in _files(local):
            self.put_file(path, f"{key}/{path.relative_to(local).as_posix()}")

    def get_folder(self, key: str, local: Path) -> None:
        source = self.root / _clean(key)
        if not source.is_dir():
            raise UserError(f"{source} does not exist")
        for path in _files(source):
            _link(path, local / path.relative_to(source))

    def put_file(self, local: Path, key: str) -> None:
        _link(local, self.root / _clean(key))

    def read_text(self, key: str) -> str:
        try:
            return (self.root / _clean(key)).read_text()
        except OSError:
            raise UserError(f"{self.root / key} does not exist") from None

    def exists(self, key: str) -> bool:
        return (self.root / _clean(key)).is_file()

    def uri_of(self, key: str) -> str:
        return str(self.root / _clean(key))


class S3Store:
    """A store under a prefix of a bucket."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.bucket, _, self.prefix = self.uri.removeprefix("s3://").partition("/")
        if not self.bucket:
            raise UserError(f"{uri} names no bucket: write s3://bucket/prefix")

    def put_folder(self, local: Path, key: str) -> None:
        for path in _files(local):
            self.put_file(path, f"{key}/{path.relative_to(local).as_posix()}")

    def get_folder(self, key: str, local: Path) -> None:
        prefix = self._key(key) + "/"
        found = list(self._names(prefix))
        if not found:
            raise UserError(f"{self.uri_of(key)} does not exist")
        for name in found:
            target = local / name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._call("download_file", self.bucket, name, str(target))

    def put_file(self, local: Path, key: str) -> None:
        self._call("upload_file", str(local), self.bucket, self._key(key))

    def read_text(self, key: str) -> str:
        answer = self._call("get_object", Bucket=self.bucket, Key=self._key(key))
        text: str = answer["Body"].read().decode()
        return text

    def exists(self, key: str) -> bool:
        name = self._key(key)
        return any(found == name for found in self._names(name))

    def uri_of(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._key(key)}"

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{_clean(key)}" if self.prefix else _clean(key)

    def _names(self, prefix: str) -> Iterator[str]:
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Bucket=self.bucket, Prefix=prefix, **token)
            yield from (entry["Key"] for entry in page.get("Contents", []))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, name: str, *arguments: Any, **named: Any) -> Any:
        import boto3
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(boto3.client("s3"), name)(*arguments, **named)
        except (BotoCoreError, ClientError, S3UploadFailedError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"store {self.uri}: {reason}") from None


def _files(folder: Path) -> list[Path]:
    """Every file below a folder, its own manifest last; unfinished work is no part of it."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.relative_to(folder).parts
    ]
    return sorted(found, key=lambda path: path == folder / MANIFEST)


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system allows it, else a copy; the file appears whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
        temporary.replace(target)
        # A link onto itself leaves both names: rename does nothing then.
        temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error


def _clean(key: str) -> str:
    """A key is relative and stays inside the store."""
    parts = PurePosixPath(key).parts
    if not parts or ".." in parts or key.startswith("/"):
        raise UserError(f"'{key}' is no key of a store")
    return "/".join(parts)

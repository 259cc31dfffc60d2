"""A store under a prefix of an S3 bucket."""

import hashlib
import time
from base64 import b64encode
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from dgr.errors import UserError
from dgr.steps import MANIFEST
from dgr.storage.bucket import Bucket, is_taken
from dgr.storage.download import digest, download, existing, read
from dgr.storage.store import as_text, check_file, clean_key, files_to_put, other_content
from dgr.storage.upload import Taken, upload, upload_probe

PROBE = ".dgr-conditional-writes"
"""An empty object below the prefix that shows whether the store honours If-None-Match."""
SETTLE_SECONDS = 1.0
"""Where it does not, a writer that looked first and found the key free waits that long for others
who did so too, and then reads what is there."""
WRITER_KEY = "dgr-writer"


class S3Store:
    """A store in a bucket, below a prefix."""

    def __init__(self, uri: str) -> None:
        name, _, prefix = uri.removeprefix("s3://").strip("/").partition("/")
        if not name:
            raise UserError(f"{uri} names no bucket: write s3://bucket/prefix")
        self.bucket = Bucket(name)
        self.prefix = clean_key(prefix) + "/" if prefix else ""
        self.uri = self.bucket.uri_of(self.prefix).rstrip("/")

    def put_folder(self, local: Path, key: str) -> None:
        files = files_to_put(local)
        root = clean_key(key)
        old = self.list(key)
        if f"{root}/{MANIFEST}" in old:
            self.delete(f"{root}/{MANIFEST}")
        for name, path in files.items():
            if name != MANIFEST:
                self.put_file(path, f"{root}/{name}")
        for stale in set(old) - {f"{root}/{name}" for name in (*files, MANIFEST)}:
            self.delete(stale)
        if MANIFEST in files:
            self.put_file(files[MANIFEST], f"{root}/{MANIFEST}")

    def get_folder(self, key: str, local: Path) -> None:
        root = clean_key(key)
        names = self.list(key)
        if not names:
            raise UserError(f"{self.uri_of(key)} does not exist or is empty")
        for name in sorted(names, key=lambda name: name == f"{root}/{MANIFEST}"):
            self.get_file(name, local / name.removeprefix(f"{root}/"))

    def put_file(self, local: Path, key: str) -> None:
        if not local.is_file():
            raise UserError(f"{local} does not exist")
        with self.bucket.told(self.uri_of(key)):
            upload(self.bucket, local, self._name(key))

    def get_file(self, key: str, local: Path, sha256: str | None = None) -> None:
        with self.bucket.told(self.uri_of(key)):
            download(self.bucket, self._name(key), local, sha256)

    def create_file(self, local: Path, key: str, sha256: str) -> None:
        if not local.is_file():
            raise UserError(f"{local} does not exist")
        with self.bucket.told(self.uri_of(key)):
            if self._holds(key, local, sha256):
                return
            try:
                upload(self.bucket, local, self._name(key), sha256=sha256, once=True)
            except Taken:
                self._holds(key, local, sha256)
                return
            if not (self._conditional and self._conditional_parts):
                time.sleep(SETTLE_SECONDS)
                self._holds(key, local, sha256)

    def _holds(self, key: str, local: Path, sha256: str) -> bool:
        """False when the key is free; raises when it holds other content."""
        if self.bucket.find(self._name(key)) is None:
            return False
        if self.sha256(key) != sha256:
            raise other_content(self.uri_of(key), local)
        check_file(local, sha256)
        return True

    def create_text(self, key: str, text: str) -> bool:
        name, writer = self._name(key), uuid4().hex
        data = text.encode()
        with self.bucket.told(self.uri_of(key)):
            if self.bucket.find(name):
                return False
            taken = self._put_once(name, data, {WRITER_KEY: writer})
            if not taken and self._conditional:
                return True
            if not taken:
                time.sleep(SETTLE_SECONDS)
            # Taken by this very call if its first answer was lost on its way.
            found = self.bucket.find(name)
            return found is not None and found.metadata.get(WRITER_KEY) == writer

    @cached_property
    def _conditional(self) -> bool:
        """Whether the store refuses to overwrite when it is asked to."""
        return any(self._put_once(self.prefix + PROBE, b"", {}) for _ in range(2))

    @cached_property
    def _conditional_parts(self) -> bool:
        """Whether it does so for uploads in parts too: some learnt that later, or not at all."""
        try:
            upload_probe(self.bucket, self.prefix + PROBE)
        except Taken:
            return True
        return False

    def _put_once(self, name: str, data: bytes, metadata: dict[str, str]) -> bool:
        """Put an object under the condition that there is none; whether there was one."""
        from botocore.exceptions import ClientError

        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        try:
            self.bucket.call(
                "put_object",
                Key=name,
                Body=data,
                ContentMD5=b64encode(md5).decode(),
                Metadata=metadata,
                IfNoneMatch="*",
            )
        except ClientError as error:
            if is_taken(error):
                return True
            raise
        return False

    def read_text(self, key: str) -> str:
        return as_text(self.read_bytes(key), self.uri_of(key))

    def read_bytes(self, key: str) -> bytes:
        with self.bucket.told(self.uri_of(key)):
            return read(self.bucket, self._name(key))

    def sha256(self, key: str) -> str:
        with self.bucket.told(self.uri_of(key)):
            return digest(self.bucket, self._name(key))

    def size(self, key: str) -> int:
        with self.bucket.told(self.uri_of(key)):
            return existing(self.bucket, self._name(key)).size

    def delete(self, key: str) -> None:
        with self.bucket.told(self.uri_of(key)):
            self.bucket.call("delete_object", Key=self._name(key))

    def exists(self, key: str) -> bool:
        name = self._name(key)
        return any(found == name for found in self._names(name))

    def list(self, key: str = "") -> list[str]:
        prefix = self._name(key) + "/" if key else self.prefix
        return sorted(name.removeprefix(self.prefix) for name in self._names(prefix))

    def uri_of(self, key: str) -> str:
        return self.bucket.uri_of(self._name(key))

    def _name(self, key: str) -> str:
        return self.prefix + clean_key(key)

    def _names(self, prefix: str) -> Iterator[str]:
        """Full names of all objects that begin with a prefix."""
        with self.bucket.told(self.bucket.uri_of(prefix)):
            pages = self.bucket.pages("list_objects_v2", Prefix=prefix)
        names = (entry["Key"] for page in pages for entry in page.get("Contents", ()))
        return (name for name in names if name != self.prefix + PROBE)

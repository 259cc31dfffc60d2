"""A store under a prefix of an S3 bucket.

Endpoint and credentials come from boto3's own chain alone: AWS_ENDPOINT_URL, AWS_PROFILE,
a pod's role, and so on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import unwritable
from dgr.steps import MANIFEST
from dgr.storage.store import clean_key, files_to_put

CONNECT_SECONDS = 10
ATTEMPTS = 4
_MISSING = ("404", "NoSuchKey", "NotFound")
_DENIED = ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")


class S3Store:
    """A store in a bucket, below a prefix."""

    def __init__(self, uri: str) -> None:
        self.bucket, _, prefix = uri.removeprefix("s3://").strip("/").partition("/")
        if not self.bucket:
            raise UserError(f"{uri} names no bucket: write s3://bucket/prefix")
        self.prefix = clean_key(prefix) + "/" if prefix else ""
        self.uri = f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @cached_property
    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        with self._told(self.uri):
            # Not boto3's default session, which keeps the credentials that it saw first.
            return boto3.session.Session().client(
                "s3",
                config=Config(
                    connect_timeout=CONNECT_SECONDS,
                    retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                    # Checksum trailers are beyond many S3-compatible servers.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )

    def put_folder(self, local: Path, key: str) -> None:
        files = files_to_put(local)
        root = clean_key(key)
        old = self.list(key)
        if f"{root}/{MANIFEST}" in old:
            self._delete(f"{root}/{MANIFEST}")
        for name, path in files.items():
            if name != MANIFEST:
                self.put_file(path, f"{root}/{name}")
        for stale in set(old) - {f"{root}/{name}" for name in (*files, MANIFEST)}:
            self._delete(stale)
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
        with self._told(self.uri_of(key)):
            self.client.upload_file(str(local), self.bucket, self._name(key))

    def get_file(self, key: str, local: Path) -> None:
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            with self._told(self.uri_of(key)):
                # boto3 downloads to a temporary name and renames.
                self.client.download_file(self.bucket, self._name(key), str(local))
        except OSError as error:
            raise unwritable(local, error) from error

    def read_text(self, key: str) -> str:
        with self._told(self.uri_of(key)):
            answer = self.client.get_object(Bucket=self.bucket, Key=self._name(key))
            return str(answer["Body"].read().decode())

    def exists(self, key: str) -> bool:
        name = self._name(key)
        return any(found == name for found in self._names(name))

    def list(self, key: str = "") -> list[str]:
        prefix = self._name(key) + "/" if key else self.prefix
        return sorted(name.removeprefix(self.prefix) for name in self._names(prefix))

    def uri_of(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._name(key)}"

    def _name(self, key: str) -> str:
        return self.prefix + clean_key(key)

    def _names(self, prefix: str) -> Iterator[str]:
        """Full names of all objects that begin with a prefix."""
        with self._told(f"s3://{self.bucket}/{prefix}"):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                yield from (entry["Key"] for entry in page.get("Contents", ()))

    def _delete(self, key: str) -> None:
        with self._told(self.uri_of(key)):
            self.client.delete_object(Bucket=self.bucket, Key=self._name(key))

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn boto3's errors into one sentence about `what`."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise UserError(self._sentence(what, error)) from None

    def _sentence(self, what: str, error: Exception) -> str:
        from botocore.exceptions import (
            ClientError,
            EndpointConnectionError,
            HTTPClientError,
            NoCredentialsError,
        )

        reason = " ".join(str(error).split())[:300]
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else reason
        if "NoSuchBucket" in code:
            return f"{what}: there is no bucket {self.bucket}; create it or name another"
        if code in _DENIED or any(f"({denied})" in code for denied in _DENIED):
            return f"{what}: access was refused; check the credentials and their rights"
        if code in _MISSING:
            return f"{what} does not exist"
        if isinstance(error, NoCredentialsError):
            return f"{what}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if isinstance(error, EndpointConnectionError | HTTPClientError):
            return f"{what}: the store cannot be reached ({reason}); check AWS_ENDPOINT_URL"
        return f"{what}: {reason}"

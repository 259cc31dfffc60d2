"""An S3 bucket: one client, one way to call it, and its errors told in one sentence.

Endpoint and credentials come from boto3's own chain alone: AWS_ENDPOINT_URL, AWS_PROFILE,
a pod's role, and so on.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from dgr.errors import UserError

CONNECT_SECONDS = 10
READ_SECONDS = 30
CONNECTIONS = 16
ATTEMPTS = 2
"""boto3's own attempts at one request; around them stands `persistent`."""
PATIENCE = 20.0
"""Seconds for which failing requests are tried again. With a request that hangs in all its
attempts (ATTEMPTS * READ_SECONDS) a store that is down is told within about a minute."""
_MISSING = ("404", "NoSuchKey", "NotFound")
_DENIED = ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_TAKEN = ("412", "PreconditionFailed")
_PASSING = ("SlowDown", "RequestTimeout", "BadDigest", "ConditionalRequestConflict")

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Found:
    """An object as it was when it was looked up."""

    name: str
    size: int
    etag: str
    metadata: dict[str, str]
    md5_etag: bool
    """Whether the store derives the ETag from MD5; with keys of KMS or the client it does not."""


class Bucket:
    """A bucket of the endpoint that the environment names."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        with self.told(f"s3://{self.name}"):
            # Not boto3's default session, which keeps the credentials that it saw first.
            return boto3.session.Session().client(
                "s3",
                config=Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    max_pool_connections=CONNECTIONS,
                    retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                    # Checksum trailers are beyond many S3-compatible servers; Content-MD5 is not.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    # As boto3 does with https: what arrives is checked by its MD5.
                    s3={"payload_signing_enabled": False},
                ),
            )

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One request, again after failures that pass; what boto3 raises at last is raised."""
        method = getattr(self.client, operation)
        answer: dict[str, Any] = persistent(lambda: method(Bucket=self.name, **arguments))
        return answer

    def pages(self, operation: str, **arguments: Any) -> list[dict[str, Any]]:
        paginator = self.client.get_paginator(operation)
        return persistent(lambda: list(paginator.paginate(Bucket=self.name, **arguments)))

    def find(self, name: str) -> Found | None:
        from botocore.exceptions import ClientError

        try:
            head = self.call("head_object", Key=name)
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        own_keys = "kms" in head.get("ServerSideEncryption", "") or "SSECustomerAlgorithm" in head
        return Found(
            name=name,
            size=head["ContentLength"],
            etag=head["ETag"],
            # Some servers give the names back in another case.
            metadata={key.lower(): value for key, value in head.get("Metadata", {}).items()},
            md5_etag=not own_keys,
        )

    def uri_of(self, name: str) -> str:
        return f"s3://{self.name}/{name}"

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Turn boto3's errors into one sentence about `what`."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise UserError(self._sentence(what, error)) from None

    def _sentence(self, what: str, error: Exception) -> str:
        from botocore.exceptions import ClientError, NoCredentialsError

        reason = " ".join(str(error).split())[:300]
        code = code_of(error) if isinstance(error, ClientError) else reason
        if "NoSuchBucket" in code:
            return f"{what}: there is no bucket {self.name}; create it or name another"
        if code in _DENIED:
            return f"{what}: access was refused; check the credentials and their rights"
        if code in _MISSING:
            return f"{what} does not exist"
        if isinstance(error, NoCredentialsError):
            return f"{what}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if passing(error):
            answered = isinstance(error, ClientError)
            state = "keeps failing" if answered else "cannot be reached"
            mend = "try again later" if answered else "check AWS_ENDPOINT_URL"
            return f"{what}: the store {state} ({reason}); {mend}"
        return f"{what}: {reason}"


def code_of(error: Any) -> str:
    """The code of a ClientError."""
    return str(error.response["Error"].get("Code", ""))


def is_taken(error: Any) -> bool:
    """Whether a ClientError says that a conditional write found the key taken."""
    return code_of(error) in _TAKEN


def is_local(error: OSError) -> bool:
    """Whether an OSError is one of this machine's files; some of boto3's errors are OSErrors."""
    from botocore.exceptions import BotoCoreError

    return not isinstance(error, BotoCoreError)


def persistent(work: Callable[[], ResultT]) -> ResultT:
    """The result of `work`, done again after failures that pass, for PATIENCE seconds."""
    started = time.monotonic()
    while True:
        try:
            return work()
        except Exception as error:
            if not passing(error) or time.monotonic() - started > PATIENCE:
                raise
        time.sleep(random.uniform(0.1, 1.0))


def passing(error: Exception) -> bool:
    """Whether the same request may succeed in a moment."""
    from botocore.exceptions import (
        ClientError,
        ConnectionError,
        HTTPClientError,
        IncompleteReadError,
    )

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in _PASSING or (status >= 500 and status != 501)
    return isinstance(error, ConnectionError | HTTPClientError | IncompleteReadError)

"""One file to an S3 store: in parallel parts, resumable, checked.

The file is read once, in order: what is sent is what was hashed. The ETag that answers a part must
be its MD5. Where it is not (a damaged part, keys of KMS), the upload begins anew, and its parts
carry their Content-MD5, which the store compares, at the price of one more hash there. An upload
that was killed is found again by its key; a part whose ETag is the MD5 of the local part is not
sent again.
"""

import hashlib
import math
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from dgr.errors import UserError
from dgr.files import sha256_file
from dgr.storage.bucket import Bucket, code_of, is_local, is_taken
from dgr.storage.download import PART_KEY, digest
from dgr.storage.parts import CORES, cut, in_order, part_size, shown
from dgr.storage.store import changed

RESTARTS = 4
ABANDONED_SECONDS = 3600
"""An upload of other content that got no part for so long has no living writer, and is ended."""
AT_ONCE = max(2, CORES)
"""Parts under way: each is hashed on its way, and more than that only take turns on the cores."""
_HASHING = threading.Semaphore(max(1, CORES // 2))
"""Half of the cores are left to sending: parts that are all hashed at once are all sent late."""
_GONE = ("NoSuchUpload", "InvalidPart", "InvalidPartOrder", "ConditionalRequestConflict")


class Taken(Exception):
    """The key holds an object already and must not be overwritten."""


class _Gone(Exception):
    """The multipart upload is no longer there, or is one of another file."""


class _Unchecked(_Gone):
    """A part's ETag does not show that it arrived as it was sent."""


@dataclass(frozen=True)
class _Target:
    """A multipart upload."""

    upload_id: str
    etags: dict[int, str] = field(default_factory=dict)
    """Of the parts that it had when it was found."""
    ours: bool = True
    """Whether no other process can be at work on it, so that it may be ended."""
    with_md5: bool = False
    """Whether its parts carry their Content-MD5."""


@dataclass(frozen=True)
class _Source:
    """What is sent, and where to."""

    bucket: Bucket
    local: Path
    name: str
    size: int
    sha256: str | None
    once: bool


@dataclass(frozen=True)
class _Part:
    number: int
    data: bytes


@dataclass(frozen=True)
class _Sent:
    number: int
    length: int
    etag: str
    md5: bytes


def upload(
    bucket: Bucket, local: Path, name: str, *, sha256: str | None = None, once: bool = False
) -> None:
    """Put a file at a name of the bucket.

    `sha256` is what the file must hold, `once` forbids to overwrite. Raises `Taken`, `UserError`
    for a file that is not what it should be, and what boto3 raises.
    """
    try:
        source = _Source(bucket, local, name, local.stat().st_size, sha256, once)
        if len(cut(source.size)) <= 1:
            _put_whole(source)
        else:
            _put_parts(source)
    except OSError as error:
        if not is_local(error):
            raise
        raise UserError(f"cannot read {local}: {error.strerror or error}") from error


def upload_probe(bucket: Bucket, name: str) -> None:
    """Put one byte at a taken name as an upload in parts that must not overwrite.

    Raises `Taken` where the store honours that.
    """
    source = _Source(bucket, Path(), name, 1, None, once=False)
    target = _begin(source)
    try:
        etag = _send_part(source, target, _Part(1, b"-"), _md5(b"-"))
        _publish_once(
            source,
            "complete_multipart_upload",
            UploadId=target.upload_id,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": f'"{etag}"'}]},
        )
    except Taken:
        _abort(source, target)
        raise


def _put_whole(source: _Source) -> None:
    data = source.local.read_bytes()
    _check_local(source, hashlib.sha256(data).hexdigest())
    md5 = _md5(data)
    answer = _publish(source, "put_object", Body=data, ContentMD5=b64encode(md5).decode())
    _check_stored(source, answer["ETag"], md5.hex())


def _put_parts(source: _Source) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    with_md5 = False
    for attempt in range(RESTARTS):
        earlier = _earlier(source) if attempt == 0 else None
        target = earlier or _begin(source, with_md5)
        try:
            sent = _send(source, target)
            _complete(source, target, sent)
            return
        except (UserError, Taken):
            _abort(source, target)
            raise
        except _Gone as gone:
            with_md5 = with_md5 or isinstance(gone, _Unchecked)
            if target.ours:
                _abort(source, target)
        except (BotoCoreError, ClientError):
            # Some stores answer 500 for an upload that its other writer has completed meanwhile,
            # or do not answer where they still wait for the rest of a part.
            if earlier is None:
                raise
    raise UserError(
        f"the upload of {source.local} to {source.bucket.uri_of(source.name)} was ended from "
        "elsewhere; wait for the other process that writes there and run again"
    )


def _begin(source: _Source, with_md5: bool = False) -> _Target:
    metadata = {PART_KEY: str(part_size(source.size))}
    answer = source.bucket.call("create_multipart_upload", Key=source.name, Metadata=metadata)
    return _Target(str(answer["UploadId"]), with_md5=with_md5)


def _earlier(source: _Source) -> _Target | None:
    """The unfinished upload of this key with most parts; abandoned ones of no use are ended.

    One without parts holds nothing, and may be of a writer that has just begun.
    """
    cuts = {piece.number: piece.length for piece in cut(source.size)}
    best: _Target | None = None
    for upload_id in _unfinished(source):
        parts = _stored_parts(source, upload_id)
        etags = {part["PartNumber"]: part["ETag"].strip('"') for part in parts}
        last = max((part["LastModified"].timestamp() for part in parts), default=math.inf)
        target: _Target | None = _Target(upload_id, etags, time.time() - last > ABANDONED_SECONDS)
        fits = all(cuts.get(part["PartNumber"]) == part["Size"] for part in parts)
        if fits and len(etags) > (len(best.etags) if best else 0):
            best, target = target, best
        if target and target.ours:
            _abort(source, target)
    return best


def _unfinished(source: _Source) -> list[str]:
    from botocore.exceptions import ClientError

    try:
        pages = source.bucket.pages("list_multipart_uploads", Prefix=source.name)
    except ClientError as error:
        if code_of(error) == "NoSuchBucket":
            raise
        return []  # A store or a role that cannot list them: nothing to go on from.
    uploads = [upload for page in pages for upload in page.get("Uploads", ())]
    return [upload["UploadId"] for upload in uploads if upload["Key"] == source.name]


def _stored_parts(source: _Source, upload_id: str) -> list[dict[str, Any]]:
    from botocore.exceptions import ClientError

    try:
        pages = source.bucket.pages("list_parts", Key=source.name, UploadId=upload_id)
    except ClientError:
        return []
    return [part for page in pages for part in page.get("Parts", ())]


def _abort(source: _Source, target: _Target) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        source.bucket.call("abort_multipart_upload", Key=source.name, UploadId=target.upload_id)
    except (BotoCoreError, ClientError):
        return  # Gone already, or the store fails: what matters was or will be told.


def _send(source: _Source, target: _Target) -> list[_Sent]:
    def send(part: _Part) -> _Sent:
        md5 = _md5(part.data)
        etag = target.etags.get(part.number)
        if etag is None:
            etag = _send_part(source, target, part, md5)
        elif etag != md5.hex():
            raise _Gone
        return _Sent(part.number, len(part.data), etag, md5)

    whole = hashlib.sha256() if source.sha256 else None
    sent = []
    label = f"upload {source.local.name}"
    with source.local.open("rb") as file, shown(label, source.size) as advance:
        for part in in_order(send, _read(file, source, whole), part_size(source.size), AT_ONCE):
            sent.append(part)
            advance(part.length)
    _check_local(source, whole.hexdigest() if whole else "")
    return sent


def _read(file: BinaryIO, source: _Source, whole: Any) -> Iterator[_Part]:
    for piece in cut(source.size):
        data = file.read(piece.length)
        if len(data) != piece.length:
            raise UserError(f"{source.local} became shorter while it was read; write it first")
        if whole:
            whole.update(data)
        yield _Part(piece.number, data)
    if file.read(1):
        raise UserError(f"{source.local} grew while it was read; write it first")


def _send_part(source: _Source, target: _Target, part: _Part, md5: bytes) -> str:
    from botocore.exceptions import ClientError

    check = {"ContentMD5": b64encode(md5).decode()} if target.with_md5 else {}
    try:
        answer = source.bucket.call(
            "upload_part",
            Key=source.name,
            UploadId=target.upload_id,
            PartNumber=part.number,
            Body=part.data,
            **check,
        )
    except ClientError as error:
        if code_of(error) in _GONE:
            raise _Gone from None
        # What a bucket with Object Lock says to a part without its Content-MD5.
        if code_of(error) == "InvalidRequest" and not check:
            raise _Unchecked from None
        raise
    etag = str(answer["ETag"]).strip('"')
    if etag != md5.hex() and not check:
        raise _Unchecked
    return etag


def _complete(source: _Source, target: _Target, sent: list[_Sent]) -> None:
    from botocore.exceptions import ClientError

    parts = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in sent]
    try:
        answer = _publish(
            source,
            "complete_multipart_upload",
            UploadId=target.upload_id,
            MultipartUpload={"Parts": parts},
        )
    except ClientError as error:
        if code_of(error) not in _GONE:
            raise
        if not _holds_local(source):
            raise _Gone from None
        return  # It was completed, but the answer was lost on its way.
    md5 = _md5(b"".join(part.md5 for part in sent)).hex()
    _check_stored(source, answer["ETag"], f"{md5}-{len(sent)}")


def _publish(source: _Source, operation: str, **arguments: Any) -> dict[str, Any]:
    """The one request that makes the object appear."""
    if not source.once:
        return source.bucket.call(operation, Key=source.name, **arguments)
    # Not every store honours the condition; looking first costs little.
    if source.bucket.find(source.name):
        raise Taken
    return _publish_once(source, operation, **arguments)


def _publish_once(source: _Source, operation: str, **arguments: Any) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    try:
        return source.bucket.call(operation, Key=source.name, IfNoneMatch="*", **arguments)
    except ClientError as error:
        if is_taken(error):
            raise Taken from None
        raise


def _check_local(source: _Source, found: str) -> None:
    if source.sha256 and found != source.sha256:
        raise changed(source.local, found, source.sha256)


def _check_stored(source: _Source, etag: str, expected: str) -> None:
    """The store's ETag is that of what was sent; where it is none of MD5, the object is read."""
    if etag.strip('"') != expected and not _holds_local(source):
        raise UserError(
            f"{source.bucket.uri_of(source.name)} holds other content than {source.local} "
            "after the upload; look for another process that writes there, and run again"
        )


def _holds_local(source: _Source) -> bool:
    found = source.bucket.find(source.name)
    if found is None or found.size != source.size:
        return False
    return digest(source.bucket, source.name) == (source.sha256 or sha256_file(source.local))


def _md5(data: bytes) -> bytes:
    with _HASHING:
        return hashlib.md5(data, usedforsecurity=False).digest()

"""One file from an S3 store: in parallel ranges, resumable, checked, whole or not at all.

Unfinished work is `.NAME.part` next to the target, with a journal `.NAME.ranges.part` of the ranges
that it holds: a first line that names the object (ETag, size, length of a range), then a number
and a full stop a line. Another object, and the work starts afresh.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import canonical_json, unwritable
from dgr.storage.bucket import Bucket, Found, code_of, is_local, is_taken, persistent
from dgr.storage.parts import Cut, cut, in_order, part_size, shown

CHUNK = 256 << 10
RESTARTS = 3
PART_KEY = "dgr-part"
"""Metadata of our uploads: the length of a part, without which a composite ETag says nothing."""


class _Changed(Exception):
    """The object is not the one that was looked up."""


def digest(bucket: Bucket, name: str) -> str:
    """SHA-256 of what the store holds now, read in bounded memory."""
    whole = hashlib.sha256()
    for data in _stream(bucket, name):
        whole.update(data)
    return whole.hexdigest()


def read(bucket: Bucket, name: str) -> bytes:
    """A small object."""
    return b"".join(_stream(bucket, name))


def _stream(bucket: Bucket, name: str) -> Iterator[bytes]:
    """An object in order, its parts read ahead."""

    def fetch(piece: Cut) -> bytes:
        return persistent(lambda: b"".join(_chunks(bucket, found, piece)))

    found = existing(bucket, name)
    try:
        with shown(f"read {name.rpartition('/')[2]}", found.size) as advance:
            for data in in_order(fetch, cut(found.size), part_size(found.size)):
                advance(len(data))
                yield data
    except _Changed:
        raise UserError(f"{bucket.uri_of(name)} changed while it was read; run again") from None


def download(bucket: Bucket, name: str, local: Path, sha256: str | None = None) -> None:
    """Fetch an object into a file. Raises `UserError`, and what boto3 raises."""
    for _ in range(RESTARTS):
        found = existing(bucket, name)
        try:
            with _Partial(local, found) as partial:
                _fetch(bucket, found, partial, sha256)
            return
        except _Changed:
            continue
        except OSError as error:
            if not is_local(error):
                raise
            raise unwritable(local, error) from error
    raise UserError(f"{bucket.uri_of(name)} keeps changing while it is read; run again")


def existing(bucket: Bucket, name: str) -> Found:
    found = bucket.find(name)
    if found is None:
        raise UserError(f"{bucket.uri_of(name)} does not exist")
    return found


def _fetch(bucket: Bucket, found: Found, partial: "_Partial", sha256: str | None) -> None:
    def fetch(piece: Cut) -> Cut:
        if piece.number not in partial.done:
            persistent(lambda: partial.write(piece, _chunks(bucket, found, piece)))
        return piece

    check = _Check(found, sha256)
    label = f"download {partial.local.name}"
    with shown(label, found.size) as advance:
        for piece in in_order(fetch, cut(found.size), part_size(found.size)):
            partial.add(piece)
            if check.needed:
                # Read again from the disk, so that ranges of an earlier attempt are checked too.
                check.update(partial.read(piece))
            partial.write_back(piece)
            advance(piece.length)
    if not check.passed():
        partial.remove()
        raise UserError(
            f"{bucket.uri_of(found.name)} arrived with other content than "
            f"{f'SHA-256 {sha256}' if sha256 else f'its ETag {found.etag}'}; "
            "fetch it again, and if that fails too put it again: the stored object is damaged"
        )
    partial.publish()


def _chunks(bucket: Bucket, found: Found, piece: Cut) -> Iterator[bytes]:
    """The bytes of a range, some at a time."""
    from botocore.exceptions import ClientError, IncompleteReadError

    try:
        answer = bucket.client.get_object(
            Bucket=bucket.name,
            Key=found.name,
            Range=f"bytes={piece.start}-{piece.start + piece.length - 1}",
            IfMatch=found.etag,
        )
    except ClientError as error:
        if is_taken(error) or code_of(error) == "InvalidRange":
            raise _Changed from None
        raise
    total = answer.get("ContentRange", "").rpartition("/")[2]
    # Not every store honours IfMatch.
    if answer["ETag"] != found.etag or total != str(found.size):
        answer["Body"].close()
        raise _Changed
    length = 0
    for chunk in answer["Body"].iter_chunks(CHUNK):
        length += len(chunk)
        yield chunk
    if length != piece.length:
        raise IncompleteReadError(actual_bytes=length, expected_bytes=piece.length)


class _Check:
    """Whether what arrived, in order, is what was expected: a SHA-256, else an ETag of MD5."""

    def __init__(self, found: Found, sha256: str | None) -> None:
        etag = found.etag.strip('"')
        parts = etag.partition("-")[2]
        ours = found.metadata.get(PART_KEY) == str(part_size(found.size))
        self.needed = bool(sha256) or (found.md5_etag and (ours or not parts))
        self._expected = sha256 or etag
        self._hash = hashlib.sha256() if sha256 else _md5()
        # The ETag of an upload in parts: MD5 over the parts' MD5, and their number.
        self._suffix = f"-{parts}" if parts and not sha256 else ""

    def update(self, chunks: Iterator[bytes]) -> None:
        """The bytes of the next part."""
        part = _md5() if self._suffix else self._hash
        for chunk in chunks:
            part.update(chunk)
        if self._suffix:
            self._hash.update(part.digest())

    def passed(self) -> bool:
        return not self.needed or self._hash.hexdigest() + self._suffix == self._expected


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


class _Partial:
    """A target that is being filled. Use as a context manager."""

    def __init__(self, local: Path, found: Found) -> None:
        self.local = local
        self.done: set[int] = set()
        self._path = local.with_name(f".{local.name}.part")
        self._journal = local.with_name(f".{local.name}.ranges.part")
        self._size, self._part = found.size, part_size(found.size)
        self._head = canonical_json({"etag": found.etag, "size": self._size, "part": self._part})
        self._file = -1

    def __enter__(self) -> "_Partial":
        self.local.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._locked()
        try:
            self.done = self._recovered()
            missing = self._size - self._part * len(self.done)
            if shutil.disk_usage(self.local.parent).free < missing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.__exit__(OSError, error, None)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            self.remove()  # What does not fit must not go on filling the disk.
        os.close(self._file)

    def _locked(self) -> int:
        """The part file, open, and no other process at work on it."""
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                raise UserError(
                    f"another process is fetching {self.local}; wait for it or stop it"
                ) from None
            # Another may have finished in between: its part file is the target now.
            if self._path.exists() and os.path.samestat(os.fstat(file), self._path.stat()):
                return file
            os.close(file)

    def _recovered(self) -> set[int]:
        """Numbers of the ranges that an earlier attempt left; else an empty file of full size."""
        lines = self._journal.read_text().splitlines() if self._journal.is_file() else []
        if os.fstat(self._file).st_size == self._size and lines[:1] == [self._head]:
            # The full stop ends a number: a line cut short by a crash does not count.
            return {int(line[:-1]) for line in lines[1:] if line.endswith(".")}
        self._journal.unlink(missing_ok=True)
        os.ftruncate(self._file, 0)
        os.ftruncate(self._file, self._size)
        if self._size > self._part:
            self._journal.write_text(self._head + "\n")
        return set()

    def write(self, piece: Cut, chunks: Iterator[bytes]) -> None:
        at = piece.start
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                count = os.pwrite(self._file, left, at)
                left, at = left[count:], at + count

    def read(self, piece: Cut) -> Iterator[bytes]:
        for at in range(0, piece.length, CHUNK):
            yield os.pread(self._file, min(CHUNK, piece.length - at), piece.start + at)

    def write_back(self, piece: Cut) -> None:
        """Let the system begin to write a range to the disk, so that little is left at the end."""
        os.posix_fadvise(self._file, piece.start, piece.length, os.POSIX_FADV_DONTNEED)

    def add(self, piece: Cut) -> None:
        """A range is there."""
        if piece.number not in self.done and self._size > self._part:
            self.done.add(piece.number)
            with self._journal.open("a") as file:
                file.write(f"{piece.number}.\n")

    def publish(self) -> None:
        os.fsync(self._file)
        self._path.replace(self.local)
        self._journal.unlink(missing_ok=True)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

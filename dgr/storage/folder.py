"""A store in a folder of this machine. Files are hard-linked where the file system allows it."""

import errno
import fcntl
import glob
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgr.errors import UserError
from dgr.files import sha256_file, unwritable
from dgr.steps import MANIFEST
from dgr.storage.store import as_text, changed, check_file, clean_key, files_to_put, other_content

ABANDONED_SECONDS = 3600
"""A half-written copy that did not grow for so long has no living writer."""
_CHUNK = 8 << 20
_NO_SHARING = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)


class FolderStore:
    """A store in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def put_folder(self, local: Path, key: str) -> None:
        target = self.root / clean_key(key)
        files = files_to_put(local)
        _remove(target / MANIFEST)
        for name, path in files.items():
            if name != MANIFEST:
                link(path, target / name)
        for stale in files_to_put(target).keys() - files.keys() if target.is_dir() else ():
            _remove(target / stale)
        if MANIFEST in files:
            link(files[MANIFEST], target / MANIFEST)

    def get_folder(self, key: str, local: Path) -> None:
        names = self.list(key)
        if not names:
            raise UserError(f"{self.uri_of(key)} does not exist or is empty")
        for name, path in files_to_put(self.root / clean_key(key)).items():
            link(path, local / name)

    def put_file(self, local: Path, key: str) -> None:
        if not local.is_file():
            raise UserError(f"{local} does not exist")
        link(local, self.root / clean_key(key))

    def get_file(self, key: str, local: Path, sha256: str | None = None) -> None:
        stored = self._existing(key)
        if sha256 and sha256_file(stored) != sha256:
            raise UserError(
                f"{stored} holds other content than SHA-256 {sha256}: "
                "the stored file is damaged; put it again"
            )
        link(stored, local)

    def create_file(self, local: Path, key: str, sha256: str) -> None:
        if not local.is_file():
            raise UserError(f"{local} does not exist")
        target = self.root / clean_key(key)
        if self._holds(target, local, sha256):
            return
        _sweep(target)
        with _new(target) as temporary:
            # A copy, not a link: whoever writes into `local` later would change the stored file,
            # whose key promises its content. copy_file_range shares the blocks where the file
            # system can (XFS, Btrfs), so that the copy is free there.
            copy(local, temporary)
            found = sha256_file(temporary)
            if found != sha256:
                raise changed(local, found, sha256)
            temporary.chmod(0o444)
            free = _link_once(temporary, target)
        if not free:
            self._holds(target, local, sha256)

    def _holds(self, target: Path, local: Path, sha256: str) -> bool:
        """False when the key is free; raises when it holds other content."""
        if not target.exists():
            return False
        if target.is_dir() or sha256_file(target) != sha256:
            raise other_content(str(target), local)
        check_file(local, sha256)
        return True

    def create_text(self, key: str, text: str) -> bool:
        target = self.root / clean_key(key)
        if target.exists():
            return False
        with _new(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
            return _link_once(temporary, target)

    def read_text(self, key: str) -> str:
        return as_text(self.read_bytes(key), self.uri_of(key))

    def read_bytes(self, key: str) -> bytes:
        return self._existing(key).read_bytes()

    def sha256(self, key: str) -> str:
        return sha256_file(self._existing(key))

    def size(self, key: str) -> int:
        return self._existing(key).stat().st_size

    def delete(self, key: str) -> None:
        _remove(self.root / clean_key(key))

    def exists(self, key: str) -> bool:
        return (self.root / clean_key(key)).is_file()

    def list(self, key: str = "") -> list[str]:
        folder = self.root / clean_key(key) if key else self.root
        if not folder.is_dir():
            return []
        return sorted(
            path.relative_to(self.root).as_posix() for path in files_to_put(folder).values()
        )

    def uri_of(self, key: str) -> str:
        return str(self.root / clean_key(key))

    def _existing(self, key: str) -> Path:
        path = self.root / clean_key(key)
        if not path.is_file():
            raise UserError(f"{path} does not exist")
        return path


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def link(source: Path, target: Path) -> None:
    """A hard link where the file system allows it, else a copy; the file appears whole."""
    with _new(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
        temporary.replace(target)


@contextmanager
def _new(target: Path) -> Iterator[Path]:
    """A name beside `target` for what will be it; gone afterwards, whatever happened."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        yield temporary
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        # Also after a rename, which does nothing between two names of one file.
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None


def _sweep(target: Path) -> None:
    """Remove copies for this target that a killed process left half-written."""
    for half in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with suppress(OSError):  # Another process swept it.
            if time.time() - half.stat().st_mtime > ABANDONED_SECONDS:
                half.unlink()


def copy(source: Path, target: Path) -> None:
    """A copy that shares the blocks of its source where the file system can."""
    with source.open("rb") as read, target.open("xb") as write:
        _copy_blocks(read.fileno(), write.fileno())
        # What was not copied there, because the two are on different file systems.
        read.seek(os.lseek(write.fileno(), 0, os.SEEK_CUR))
        shutil.copyfileobj(read, write, _CHUNK)


def _copy_blocks(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, _CHUNK):
            pass
    except OSError as error:
        if error.errno not in _NO_SHARING:
            raise


def _link_once(temporary: Path, target: Path) -> bool:
    """Give a whole file its name unless that is taken; whether it was free."""
    _sync(temporary)
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: one at a time looks and renames.
        with _locked(target.parent):
            if target.exists():
                return False
            temporary.replace(target)
    return True


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

"""A store in a folder of this machine. Files are hard-linked where the file system allows it."""

import os
import shutil
import threading
from pathlib import Path

from dgr.errors import UserError
from dgr.files import unwritable
from dgr.steps import MANIFEST
from dgr.storage.store import clean_key, files_to_put


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

    def get_file(self, key: str, local: Path) -> None:
        link(self._existing(key), local)

    def read_text(self, key: str) -> str:
        return self._existing(key).read_text(encoding="utf-8")

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
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
        temporary.replace(target)
        # Two names of one file: rename does nothing then, and leaves both.
        temporary.unlink(missing_ok=True)
    except OSError as error:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None
        raise unwritable(target, error) from error

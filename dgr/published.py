"""Published files: named by their data set, fetched at a pinned commit, checked by their digest.

    Published("hub:openai/gsm8k", "main/test-00000-of-00001.parquet", "740312...").fetch("gsm8k")

`hub:owner/name` is a data set of the Hub, `github:owner/name` a repository. Where `DGR_MIRROR`
names a folder or an s3:// prefix, nothing is asked of either: the file is
`<mirror>/owner/name/<revision>/<file>`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from dgr.errors import UserError
from dgr.files import sha256_file, write_bytes
from dgr.storage import cache_folder, fetch_file, open_store
from dgr.tables import require

MIRROR_ENV = "DGR_MIRROR"
"""Environment variable that names the mirror of published files: a folder or s3://bucket/prefix."""
HUB, GITHUB = "hub:", "github:"
GITHUB_FILES = "https://raw.githubusercontent.com"
TIMEOUT_S = 60


def is_published(source: str) -> bool:
    """Whether a source is named by its data set and not by a path."""
    return source.startswith((HUB, GITHUB))


def mirror() -> str | None:
    """The mirror that published files come from; None: from where they are published."""
    return os.environ.get(MIRROR_ENV, "").rstrip("/") or None


def check_digest(path: Path, sha256: str | None, where: str) -> Path:
    """The path again; `UserError` when it is not the file that was meant."""
    if sha256 is not None and (found := sha256_file(path)) != sha256:
        raise UserError(
            f"{where}: {path} has SHA-256 {found} instead of {sha256}: it is another file than "
            "the one that was pinned; fetch it again, or set `sha256` to the file that you mean"
        )
    return path


@dataclass(frozen=True)
class Published:
    """One file of a published data set."""

    source: str
    """`hub:owner/name` or `github:owner/name`."""
    file: str
    """The file inside it."""
    revision: str | None
    """The commit."""
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.source.partition(":")[2]

    @property
    def mirrored(self) -> str | None:
        """Where the file is in the mirror; None without one."""
        place, parts = mirror(), (self.name, self.revision, self.file)
        return "/".join(filter(None, (place, *parts))) if place else None

    @property
    def address(self) -> str:
        """The file for people: `hub:org/name@740312add88f, data.csv`."""
        at = f"@{self.revision[:12]}" if self.revision else ""
        return f"{self.source}{at}, {self.file}"

    def fetch(self, where: str) -> Path:
        """The local file, checked; `where` names the field or suite in a `UserError`."""
        if self.mirrored:
            path = self._from_mirror(self.mirrored, where)
        else:
            from_github = self.source.startswith(GITHUB)
            path = self._from_github(where) if from_github else self._from_hub(where)
        return check_digest(path, self.sha256, where)

    def in_mirror(self) -> bool:
        """Whether the mirror holds the file."""
        found = self.mirrored or ""
        if not found.startswith("s3://"):
            return Path(found).is_file()
        place, _, name = found.rpartition("/")
        return open_store(place).exists(name)

    def _from_mirror(self, place: str, where: str) -> Path:
        if not self.in_mirror():
            raise UserError(
                f"{where}: {place} does not exist; put {self.address} there, or unset {MIRROR_ENV}"
            )
        return fetch_file(place)

    def _from_hub(self, where: str) -> Path:
        require("huggingface_hub")
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HFValidationError

        try:
            return Path(
                hf_hub_download(self.name, self.file, repo_type="dataset", revision=self.revision)
            )
        except (OSError, HFValidationError) as error:  # its HTTP errors are OSErrors
            raise self._out_of_reach("the Hub", where, error) from None

    def _from_github(self, where: str) -> Path:
        """A commit never changes, so its file is fetched once for all runs of this machine."""
        place = f"{self.name}/{self.revision}/{self.file}"
        copy = cache_folder("published") / place
        if not copy.is_file():
            try:
                with urlopen(f"{GITHUB_FILES}/{quote(place)}", timeout=TIMEOUT_S) as answer:
                    write_bytes(copy, answer.read())
            except OSError as error:  # its HTTP errors are OSErrors
                raise self._out_of_reach("GitHub", where, error) from None
        return copy

    def _out_of_reach(self, host: str, where: str, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:200]
        return UserError(
            f"{where}: {self.address} cannot be fetched from {host} ({reason}); check name, access "
            f"and network, or put the file into a mirror and name that in {MIRROR_ENV}"
        )

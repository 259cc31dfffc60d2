"""Published files: fetched at a commit, from a mirror where there is one, checked by digest."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dgr import published
from dgr.errors import UserError
from dgr.files import sha256_text
from dgr.published import Published
from dgr.storage import open_store
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]

COMMIT = "a" * 40
TEXT = "prompt\nhello\n"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A server of one file; what it was asked for."""
    asked: list[str] = []

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            there = self.path == f"/org/name/{COMMIT}/data/a%20set.csv"
            self.send_response(200 if there else 404)
            self.end_headers()
            self.wfile.write(TEXT.encode() if there else b"404: Not Found")

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(published, "GITHUB_FILES", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("DGR_CACHE", str(tmp_path / "cache"))
    yield asked
    server.shutdown()
    server.server_close()


def test_a_file_of_a_repository_is_fetched_once_and_checked(github: list[str]) -> None:
    source = Published("github:org/name", "data/a set.csv", COMMIT, sha256_text(TEXT))
    assert source.fetch("suite 'x'").read_text() == TEXT
    assert source.fetch("suite 'x'").read_text() == TEXT
    assert len(github) == 1
    other = Published("github:org/name", "data/a set.csv", COMMIT, "0" * 64)
    with pytest.raises(UserError, match=r"suite 'x': .* has SHA-256 .* instead of 000"):
        other.fetch("suite 'x'")


def test_what_is_not_there_is_one_sentence_and_leaves_nothing(
    github: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"suite 'x': github:org/name@a{12}, b\.csv cannot be"):
        Published("github:org/name", "b.csv", COMMIT).fetch("suite 'x'")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_hub_is_asked_for_that_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the Hub's cache holds of a commit needs no network; the rest is one sentence."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    held = tmp_path / "datasets--org--name" / "snapshots" / COMMIT / "data" / "a.csv"
    held.parent.mkdir(parents=True)
    held.write_text(TEXT)
    found = Published("hub:org/name", "data/a.csv", COMMIT, sha256_text(TEXT)).fetch("suite 'x'")
    assert found.read_text() == TEXT
    with pytest.raises(UserError, match=r"suite 'x': hub:org/name@b{12}.* from the Hub .*mirror"):
        Published("hub:org/name", "data/a.csv", "b" * 40).fetch("suite 'x'")


def test_a_mirror_takes_the_place_of_hub_and_github(
    github: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DGR_MIRROR", str(tmp_path / "mirror"))
    sources = [Published(f"{host}:org/name", "a.csv", COMMIT) for host in ("hub", "github")]
    assert not any(source.in_mirror() for source in sources)
    with pytest.raises(UserError, match=rf"mirror/org/name/{COMMIT}/a\.csv does not exist; put"):
        sources[0].fetch("suite 'x'")
    held = tmp_path / "mirror" / "org" / "name" / COMMIT / "a.csv"
    held.parent.mkdir(parents=True)
    held.write_text(TEXT)
    assert [source.fetch("suite 'x'") for source in sources] == [held, held]
    assert github == []


def test_a_mirror_in_a_store(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    open_store(f"{s3}/mirror").put_file(tmp_path / "a.csv", f"org/name/{COMMIT}/a.csv")
    monkeypatch.setenv("DGR_MIRROR", f"{s3}/mirror/")
    monkeypatch.setenv("DGR_CACHE", str(tmp_path / "cache"))
    source = Published("hub:org/name", "a.csv", COMMIT, sha256_text(TEXT))
    assert source.in_mirror()
    assert source.fetch("suite 'x'").read_text() == TEXT

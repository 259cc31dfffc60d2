"""Large files to and from S3: killed, broken, damaged, measured."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from dgr.errors import UserError
from dgr.files import sha256_file
from dgr.storage import Store, open_store
from dgr.storage.parts import cut, part_size
from tests.faults import Faults, Proxy
from tests.storage.conftest import PART

ROOT = Path(__file__).parents[2]
GIB = 1 << 30


def make(path: Path, size: int, seed: int = 0) -> str:
    """A file of random bytes; its SHA-256."""
    source = random.Random(seed)
    with path.open("wb") as file:
        for at in range(0, size, PART):
            file.write(source.randbytes(min(PART, size - at)))
    return sha256_file(path)


def unfinished(store: Store) -> list[str]:
    bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
    answer = (
        boto3.session.Session().client("s3").list_multipart_uploads(Bucket=bucket, Prefix=prefix)
    )
    return [upload["UploadId"] for upload in answer.get("Uploads", ())]


@pytest.mark.parametrize(
    ("size", "part_mib", "parts"),
    [(0, 8, 0), (1, 8, 1), (5 * GIB, 8, 640), (78 * GIB, 8, 9_984), (150 * GIB, 16, 9_600)],
)
def test_part_size(size: int, part_mib: int, parts: int) -> None:
    assert part_size(size) == part_mib << 20
    assert len(cut(size)) == parts <= 10_000
    assert sum(piece.length for piece in cut(size)) == size


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [0, PART, PART + 1, 3 * PART])
def test_there_and_back(store: Store, tmp_path: Path, size: int) -> None:
    digest = make(tmp_path / "f", size)
    store.put_file(tmp_path / "f", "f")
    assert store.sha256("f") == digest
    for expected in (None, digest):
        store.get_file("f", tmp_path / "back", sha256=expected)
        assert sha256_file(tmp_path / "back") == digest
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["back", "f"]


SCRIPT = """
import sys
from pathlib import Path
from dgr.storage import open_store, parts
parts.PART, parts.MEMORY = int(sys.argv[1]), 4 * int(sys.argv[1])
store = open_store(sys.argv[2])
if sys.argv[3] == "put":
    store.put_file(Path(sys.argv[4]), "f")
else:
    store.get_file("f", Path(sys.argv[4]))
"""


def kill_after(store: Store, what: str, path: Path, enough: Callable[[], bool]) -> None:
    """Start a transfer in another process and kill it as soon as enough is done."""
    command = [sys.executable, "-c", SCRIPT, str(PART), store.uri, what, str(path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    end = time.monotonic() + 40
    while not enough() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9, "the transfer ended before it was killed"


def parts_of(proxy: Proxy) -> set[int]:
    sent = proxy.finished("PUT", "partNumber=")
    return {int(request.path.partition("partNumber=")[2].partition("&")[0]) for request in sent}


@pytest.mark.usefixtures("small_parts")
def test_killed_upload_goes_on(remote: Store, proxy: Proxy, tmp_path: Path) -> None:
    digest = make(tmp_path / "f", 8 * PART)
    proxy.faults = Faults(stalls=1, stall_seconds=0.15, only="partNumber")
    kill_after(remote, "put", tmp_path / "f", lambda: len(parts_of(proxy)) >= 3)
    time.sleep(0.5)  # What was on its way ends.
    there = parts_of(proxy)
    assert 3 <= len(there) < 8 and not remote.exists("f")
    proxy.faults = Faults()
    proxy.requests.clear()
    remote.put_file(tmp_path / "f", "f")
    assert parts_of(proxy) == set(range(1, 9)) - there
    assert remote.sha256("f") == digest
    assert unfinished(remote) == []


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("abandoned", [True, False])
def test_changed_file_starts_afresh(
    remote: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abandoned: bool
) -> None:
    """The useless upload is ended when its writer is surely gone, and left alone before."""
    monkeypatch.setattr("dgr.storage.bucket.PATIENCE", 0)
    monkeypatch.setattr("dgr.storage.upload.ABANDONED_SECONDS", -60 if abandoned else 60)
    make(tmp_path / "f", 4 * PART)
    proxy.faults = Faults(errors=1, only="partNumber=3")
    with pytest.raises(UserError, match="f: the store keeps failing"):
        remote.put_file(tmp_path / "f", "f")
    old = unfinished(remote)
    assert len(old) == 1
    proxy.faults = Faults()
    proxy.requests.clear()
    digest = make(tmp_path / "f", 4 * PART, seed=1)
    remote.put_file(tmp_path / "f", "f")
    assert parts_of(proxy) == {1, 2, 3, 4}
    assert remote.sha256("f") == digest
    assert unfinished(remote) == ([] if abandoned else old)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("proxy", ["rclone"], indirect=True)
@pytest.mark.parametrize("size", [PART, 9 * PART], ids=["shorter", "grew"])
def test_file_that_changes_while_it_is_read(
    remote: Store, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    make(tmp_path / "f", 8 * PART)

    def change() -> None:
        while not parts_of(proxy):
            time.sleep(0.005)
        os.truncate(tmp_path / "f", size)

    proxy.faults = Faults(stalls=1, stall_seconds=0.2, only="partNumber")
    writer = threading.Thread(target=change)
    writer.start()
    with pytest.raises(UserError, match=f"{tmp_path}/f (became shorter|grew) while it was read"):
        remote.put_file(tmp_path / "f", "f")
    writer.join()
    assert not remote.exists("f")
    assert unfinished(remote) == []


def ranges(proxy: Proxy) -> int:
    return len(proxy.finished("GET", "/f"))


def journal(path: Path) -> list[str]:
    """Numbers of the ranges that a download has finished."""
    file = path.with_name(f".{path.name}.ranges.part")
    return file.read_text().split()[1:] if file.is_file() else []


@pytest.mark.usefixtures("small_parts")
def test_killed_download_goes_on(remote: Store, proxy: Proxy, tmp_path: Path) -> None:
    digest = make(tmp_path / "f", 8 * PART)
    remote.put_file(tmp_path / "f", "f")
    back = tmp_path / "back"
    proxy.faults = Faults(stalls=1, stall_seconds=0.15, only="GET")
    kill_after(remote, "get", back, lambda: len(journal(back)) >= 3)
    done = len(journal(back))
    assert 3 <= done < 8 and not back.exists()
    proxy.faults = Faults()
    proxy.requests.clear()
    remote.get_file("f", back)
    assert ranges(proxy) == 8 - done
    assert sha256_file(back) == digest
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def break_off_download(remote: Store, proxy: Proxy, back: Path) -> None:
    """A download of some ranges."""
    proxy.faults = Faults(stalls=1, stall_seconds=0.05, only="GET")
    kill_after(remote, "get", back, lambda: len(journal(back)) >= 2)
    proxy.faults = Faults()
    proxy.requests.clear()


@pytest.mark.usefixtures("small_parts")
def test_changed_object_starts_afresh(remote: Store, proxy: Proxy, tmp_path: Path) -> None:
    make(tmp_path / "f", 8 * PART)
    remote.put_file(tmp_path / "f", "f")
    break_off_download(remote, proxy, tmp_path / "back")
    digest = make(tmp_path / "f", 8 * PART, seed=1)
    remote.put_file(tmp_path / "f", "f")
    remote.get_file("f", tmp_path / "back")
    assert ranges(proxy) == 8
    assert sha256_file(tmp_path / "back") == digest


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("known", [True, False], ids=["sha256", "etag"])
def test_damage_on_the_way_is_found(
    remote: Store, proxy: Proxy, tmp_path: Path, known: bool
) -> None:
    digest = make(tmp_path / "f", 3 * PART)
    remote.put_file(tmp_path / "f", "f")
    proxy.faults = Faults(corrupted=0.5, only="GET", seed=1)
    with pytest.raises(UserError, match="f arrived with other content"):
        remote.get_file("f", tmp_path / "back", sha256=digest if known else None)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("proxy", ["rclone"], indirect=True)
def test_a_part_that_was_damaged_on_its_way_is_noticed_and_sent_again(
    remote: Store, proxy: Proxy, tmp_path: Path
) -> None:
    digest = make(tmp_path / "f", 8 * PART)
    proxy.faults = Faults(damaged=0.05, only="partNumber", seed=420)
    remote.create_file(tmp_path / "f", "f", digest)
    begun = {request.path.partition("uploadId=")[2][:36] for request in proxy.requests}
    assert len(begun - {""}) == 2
    assert remote.sha256("f") == digest


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("proxy", ["moto"], indirect=True)
def test_damage_that_the_store_does_not_notice_is_told(
    remote: Store, proxy: Proxy, tmp_path: Path
) -> None:
    """Moto ignores Content-MD5: what is left is the ETag of the whole."""
    digest = make(tmp_path / "f", 4 * PART)
    proxy.faults = Faults(damaged=1, only="partNumber")
    with pytest.raises(UserError, match="f holds other content"):
        remote.create_file(tmp_path / "f", "f", digest)


@pytest.mark.usefixtures("small_parts")
def test_damage_of_a_half_download_is_found(remote: Store, proxy: Proxy, tmp_path: Path) -> None:
    make(tmp_path / "f", 8 * PART)
    remote.put_file(tmp_path / "f", "f")
    back = tmp_path / "back"
    break_off_download(remote, proxy, back)
    first = int(journal(back)[0].rstrip("."))
    with back.with_name(".back.part").open("r+b") as file:
        file.seek((first - 1) * PART)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(UserError, match="f arrived with other content"):
        remote.get_file("f", back)
    remote.get_file("f", back)
    assert sha256_file(back) == sha256_file(tmp_path / "f")


@pytest.mark.usefixtures("small_parts")
def test_another_download_to_the_same_file_is_told(
    remote: Store, proxy: Proxy, tmp_path: Path
) -> None:
    make(tmp_path / "f", 8 * PART)
    remote.put_file(tmp_path / "f", "f")
    back = tmp_path / "back"
    told = []

    def second() -> bool:
        if not journal(back):
            return False
        with pytest.raises(UserError, match=f"another process is fetching {back}") as error:
            remote.get_file("f", back)
        told.append(error)
        return True

    proxy.faults = Faults(stalls=1, stall_seconds=0.15, only="GET")
    kill_after(remote, "get", back, second)
    assert len(told) == 1


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("proxy", ["rclone"], indirect=True)
def test_errors_and_stalls_pass(remote: Store, proxy: Proxy, tmp_path: Path) -> None:
    digest = make(tmp_path / "f", 10 * PART)
    proxy.faults = Faults(errors=0.05, resets=0.05, lost=0.05, stalls=0.05, stall_seconds=2, seed=5)
    remote.create_file(tmp_path / "f", "f", digest)
    remote.get_file("f", tmp_path / "back", sha256=digest)
    assert {0, 503} <= {request.status for request in proxy.requests}


@pytest.mark.parametrize("proxy", ["rclone"], indirect=True)
def test_store_that_is_down_is_one_sentence(
    remote: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dgr.storage.bucket.PATIENCE", 0.2)
    monkeypatch.setattr("dgr.storage.bucket.READ_SECONDS", 0.3)
    digest = make(tmp_path / "f", 20 << 20)
    calls: list[Callable[[], object]] = [
        lambda: remote.put_file(tmp_path / "f", "f"),
        lambda: remote.create_file(tmp_path / "f", "f", digest),
        lambda: remote.get_file("f", tmp_path / "back"),
        lambda: remote.sha256("f"),
        remote.list,
    ]
    weathers = {
        "cannot be reached": Faults(down=True),
        "keeps failing": Faults(errors=1),
        "cannot be reached .*timeout": Faults(stalls=1, stall_seconds=1),
    }
    for call, (told, faults) in zip(calls, [*weathers.items()] * 2, strict=False):
        proxy.faults = faults
        started = time.monotonic()
        with pytest.raises(UserError, match=told) as error:
            call()
        assert "\n" not in str(error.value) and remote.uri in str(error.value)
        assert time.monotonic() - started < 10


def test_progress_of_a_large_file(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not store.uri.startswith("s3://"):
        pytest.skip("a folder links")
    make(tmp_path / "f", 3 << 20)
    store.put_file(tmp_path / "f", "f")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("dgr.storage.parts.SHOWN_FROM", 1 << 20)
    store.sha256("f")
    assert "read f: 3 of 3 MiB" in capsys.readouterr().err


MEASURED = """
import json, sys
from pathlib import Path
from dgr.storage import open_store

def peak():
    # Not getrusage, which starts at what the parent process held.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

store = open_store(sys.argv[1])
folder = Path(sys.argv[2])
store.put_file(folder / "small", "small")
store.get_file("small", folder / "small-back")
before = peak()
store.put_file(folder / "large", "large")
sent = peak()
store.get_file("large", folder / "back", sha256=sys.argv[3])
print(json.dumps([before, sent, peak()]))
"""


def test_memory_is_flat(s3: str, tmp_path: Path) -> None:
    """600 MiB there and back in less memory than a quarter of it."""
    make(tmp_path / "small", 1_000)
    block = random.Random(0).randbytes(50 << 20)
    with (tmp_path / "large").open("wb") as file:
        for _ in range(12):
            file.write(block)
    digest = sha256_file(tmp_path / "large")
    command = [sys.executable, "-c", MEASURED, f"{s3}/{tmp_path.name}", str(tmp_path), digest]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    before, sent, fetched = json.loads(done.stdout)
    assert before < sent < before + 150
    assert fetched - before < 150, (before, sent, fetched)
    open_store(f"{s3}/{tmp_path.name}").delete("large")

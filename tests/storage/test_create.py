"""Keys that are never overwritten, alike in every kind of store."""

import hashlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from dgr.errors import UserError
from dgr.files import sha256_file, sha256_text
from dgr.storage import Store, open_store
from tests.faults import Faults, Proxy
from tests.storage.conftest import PART


def make(path: Path, size: int, seed: int) -> str:
    """A file of random bytes; its SHA-256."""
    path.write_bytes(random.Random(seed).randbytes(size))
    return sha256_file(path)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [0, 1_000, PART + 1], ids=["empty", "small", "parts"])
def test_create_file_once(store: Store, tmp_path: Path, size: int) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    digest, second = make(first, size, seed=1), make(other, size + 1, seed=2)
    store.create_file(first, "models/weights", digest)
    store.create_file(first, "models/weights", digest)
    with pytest.raises(UserError, match="models/weights holds other content"):
        store.create_file(other, "models/weights", second)
    assert store.sha256("models/weights") == digest
    assert store.size("models/weights") == size
    assert store.list() == ["models/weights"]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [1_000, PART + 1], ids=["small", "parts"])
def test_a_file_that_is_not_its_digest_is_named(store: Store, tmp_path: Path, size: int) -> None:
    digest = make(tmp_path / "f", size, seed=1)
    data = bytearray((tmp_path / "f").read_bytes())
    data[-1] ^= 1
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(UserError, match=f"{tmp_path}/f has SHA-256 .* instead of {digest}"):
        store.create_file(tmp_path / "f", "f", digest)
    assert not store.exists("f")
    with pytest.raises(UserError, match="gone does not exist"):
        store.create_file(tmp_path / "gone", "f", digest)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Results or UserErrors of calls that start together."""
    barrier = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def run(place: int) -> None:
        barrier.wait()
        try:
            results[place] = calls[place]()
        except UserError as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [1_000, PART + 1], ids=["small", "parts"])
def test_of_two_racing_writers_one_wins(store: Store, tmp_path: Path, size: int) -> None:
    """Where the store does not honour the condition, the loser learns it from reading back."""
    files = [tmp_path / "a", tmp_path / "b"]
    digests = [make(path, size, seed) for seed, path in enumerate(files)]

    def write(place: int) -> Callable[[], object]:
        # Each through its own client, as two processes would.
        own = open_store(store.uri)
        return lambda: own.create_file(files[place], "models/weights", digests[place])

    results = at_once(write(0), write(1))
    losers = [place for place in (0, 1) if isinstance(results[place], UserError)]
    assert len(losers) == 1, results
    assert "models/weights holds other content" in str(results[losers[0]])
    assert store.sha256("models/weights") == digests[1 - losers[0]]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("proxy", ["moto"], indirect=True)
def test_condition_that_holds_for_small_files_alone(
    remote: Store, proxy: Proxy, tmp_path: Path
) -> None:
    """Some stores ignore it at the end of an upload in parts."""
    proxy.faults = Faults(drop="If-None-Match", only="POST")
    files = [tmp_path / "a", tmp_path / "b"]
    digests = [make(path, PART + 1, seed) for seed, path in enumerate(files)]
    stores = [open_store(remote.uri) for _ in files]
    results = at_once(
        *(lambda n=n: stores[n].create_file(files[n], "weights", digests[n]) for n in (0, 1))
    )
    assert [type(result) for result in results].count(UserError) == 1, results
    assert remote.sha256("weights") == digests[results.index(None)]


def test_key_of_a_versioned_bucket_is_free_after_delete(moto: str, tmp_path: Path) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    store = open_store("s3://versioned/prefix")
    digest = make(tmp_path / "f", 1_000, seed=1)
    store.create_file(tmp_path / "f", "f", digest)
    assert store.create_text("f", "text") is False
    store.delete("f")
    assert store.list() == [] and not store.exists("f")
    with pytest.raises(UserError, match="f does not exist"):
        store.sha256("f")
    assert store.create_text("f", "text") is True
    assert store.read_text("f") == "text"


def test_create_text_once(store: Store) -> None:
    assert store.create_text("claims/a", "ünïcode") is True
    assert store.create_text("claims/a", "ünïcode") is False
    assert store.create_text("claims/a", "other") is False
    assert store.read_text("claims/a") == "ünïcode"
    assert store.list("claims") == ["claims/a"]


def test_of_many_racing_texts_one_wins(store: Store) -> None:
    stores = [open_store(store.uri) for _ in range(4)]
    results = at_once(
        *(
            lambda own=own, text=str(n): own.create_text("claim", text)
            for n, own in enumerate(stores)
        )
    )
    assert sorted(map(str, results)) == ["False", "False", "False", "True"]
    assert store.read_text("claim") == str(results.index(True))


def test_digest_size_delete(store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("text")
    store.put_file(tmp_path / "f", "x/f")
    assert store.sha256("x/f") == sha256_text("text")
    assert store.size("x/f") == 4
    store.delete("x/f")
    store.delete("x/f")
    assert not store.exists("x/f")
    for ask in (store.sha256, store.size):
        with pytest.raises(UserError, match="x/f does not exist"):
            ask("x/f")


def test_get_file_checks_the_digest(store: Store, tmp_path: Path) -> None:
    digest = make(tmp_path / "f", 1_000, seed=1)
    store.create_file(tmp_path / "f", "f", digest)
    store.get_file("f", tmp_path / "good", sha256=digest)
    assert sha256_file(tmp_path / "good") == digest
    with pytest.raises(UserError, match=r"f (holds|arrived with) other content"):
        store.get_file("f", tmp_path / "bad", sha256=sha256_text("else"))
    assert not [path for path in tmp_path.iterdir() if "bad" in path.name]


def test_lost_answers_do_not_lose_the_race(remote: Store, proxy: Proxy, tmp_path: Path) -> None:
    """The server did it, the client heard nothing and asked again: it is still the winner."""
    digest = make(tmp_path / "f", 1_000, seed=1)
    proxy.faults = Faults(lost=0.5, only="PUT", seed=3)
    assert remote.create_text("claim", "mine") is True
    remote.create_file(tmp_path / "f", "f", digest)
    assert any(request.status == 0 for request in proxy.requests)
    assert remote.create_text("claim", "mine") is False


def test_created_files_of_a_folder_are_their_own(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    digest = make(tmp_path / "f", 1_000, seed=1)
    store.create_file(tmp_path / "f", "f", digest)
    with (tmp_path / "f").open("r+b") as file:
        file.write(b"changed in place")
    assert store.sha256("f") == digest
    assert Path(store.uri_of("f")).stat().st_mode & 0o777 == 0o444


def test_half_a_copy_of_a_killed_process_is_swept(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    digest = make(tmp_path / "f", 1_000, seed=1)
    store.create_file(tmp_path / "f", "f", digest)
    old, young = tmp_path / "store" / ".g.1-1.tmp", tmp_path / "store" / ".g.2-2.tmp"
    old.write_text("half")
    young.write_text("half")
    os.utime(old, (1, 1))
    assert store.list() == ["f"]
    store.create_file(tmp_path / "f", "g", digest)
    assert not old.exists() and young.exists()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    digest = make(tmp_path / "f", 1_000, seed=1)
    store.create_file(tmp_path / "f", "f", digest)
    stored = Path(store.uri_of("f"))
    data = bytearray(stored.read_bytes())
    data[500] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(data)
    assert store.sha256("f") == hashlib.sha256(data).hexdigest() != digest
    with pytest.raises(UserError, match="f holds other content"):
        store.create_file(tmp_path / "f", "f", digest)


@pytest.mark.parametrize("name", ["link", "copy_file_range"])
def test_folder_without_links_or_shared_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, name, refuse)
    store = open_store(str(tmp_path / "store"))
    files = [tmp_path / "a", tmp_path / "b"]
    digests = [make(path, 1_000, seed) for seed, path in enumerate(files)]
    writes = [lambda n=n: store.create_file(files[n], "f", digests[n]) for n in (0, 1)]
    results = at_once(*writes)
    assert [type(result) for result in results].count(UserError) == 1
    assert store.sha256("f") in digests
    assert store.list() == ["f"]


def test_full_disk_of_a_folder_store(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(str(small_disk))
    digest = make(tmp_path / "f", 100_000, seed=1)
    for write in (
        lambda: store.create_file(tmp_path / "f", "a/f", digest),
        lambda: store.put_file(tmp_path / "f", "a/f"),
        lambda: store.create_text("a/f", "x" * 100_000),
    ):
        with pytest.raises(UserError, match="a/f: No space left on device"):
            write()
        assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_full_disk_of_a_download(store: Store, small_disk: Path, tmp_path: Path) -> None:
    digest = make(tmp_path / "f", 100_000, seed=1)
    store.create_file(tmp_path / "f", "f", digest)
    with pytest.raises(UserError, match="f: No space left on device"):
        store.get_file("f", small_disk / "f")
    assert list(small_disk.iterdir()) == []

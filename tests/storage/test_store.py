"""Both kinds of store behave alike; S3 is a real server."""

import os
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.storage import Store, open_store


@pytest.fixture
def step(tmp_path: Path) -> Path:
    folder = tmp_path / "step"
    (folder / "model").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "model" / "weights").write_bytes(bytes(range(256)) * 40_000)
    (folder / "zeta.json").write_text("ünïcode")
    (folder / ".work").mkdir()
    (folder / ".work" / "half").write_text("unfinished")
    (folder / ".zeta.json.part").write_text("half a download")
    return folder


def test_folder_goes_and_comes_back(store: Store, step: Path, tmp_path: Path) -> None:
    store.put_folder(step, "runs/a/sft/dgr")
    assert store.list() == [
        "runs/a/sft/dgr/manifest.json",
        "runs/a/sft/dgr/model/weights",
        "runs/a/sft/dgr/zeta.json",
    ]
    assert store.list("runs/a") == store.list()
    assert store.list("runs/b") == []
    store.get_folder("runs/a/sft/dgr", tmp_path / "back")
    for name in ("manifest.json", "model/weights", "zeta.json"):
        assert (tmp_path / "back" / name).read_bytes() == (step / name).read_bytes()
    assert not (tmp_path / "back" / ".work").exists()


def test_a_folder_put_again_holds_the_new_files_alone(
    store: Store, step: Path, tmp_path: Path
) -> None:
    store.put_folder(step, "a")
    (step / "zeta.json").unlink()
    (step / "new.json").write_text("new")
    (step / "manifest.json").write_text('{"v": 2}')
    store.put_folder(step, "a")
    assert store.list("a") == ["a/manifest.json", "a/model/weights", "a/new.json"]
    assert store.read_text("a/manifest.json") == '{"v": 2}'


def test_a_put_that_breaks_off_leaves_no_manifest(
    store: Store, step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even that of the folder that was there before."""
    store.put_folder(step, "a")
    put: list[str] = []

    def break_off(*arguments: object) -> None:
        put.append(str(arguments[-1]))
        if len(put) == 2:
            raise UserError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("dgr.storage.folder.link", break_off)
        broken.setattr("dgr.storage.s3.S3Store.put_file", break_off)
        with pytest.raises(UserError, match="full"):
            store.put_folder(step, "a")
    assert not any("manifest" in name for name in put)
    assert not store.exists("a/manifest.json")
    store.put_folder(step, "a")
    assert store.exists("a/manifest.json")


def test_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("text")
    assert not store.exists("x/f.json")
    store.put_file(tmp_path / "f", "x/f.json")
    assert store.exists("x/f.json")
    assert not store.exists("x/f")
    assert not store.exists("x")
    assert store.read_text("x/f.json") == "text"
    store.get_file("x/f.json", tmp_path / "deep" / "er" / "f")
    assert (tmp_path / "deep" / "er" / "f").read_text() == "text"
    assert store.uri_of("x/f.json").startswith(store.uri)


@pytest.mark.parametrize("key", ["", "/absolute", "a/../../b", ".."])
def test_keys_stay_inside(store: Store, tmp_path: Path, key: str) -> None:
    (tmp_path / "f").write_text("text")
    with pytest.raises(UserError, match="no key"):
        store.put_file(tmp_path / "f", key)


def test_what_is_missing_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.json does not exist"):
        store.read_text("nothing.json")
    with pytest.raises(UserError, match=r"nothing\.json does not exist"):
        store.get_file("nothing.json", tmp_path / "f")
    with pytest.raises(UserError, match="folder does not exist"):
        store.get_folder("folder", tmp_path / "f")
    with pytest.raises(UserError, match="gone does not exist"):
        store.put_file(tmp_path / "gone", "f")


def test_folder_store_links_on_one_file_system(tmp_path: Path, step: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    store.put_folder(step, "a")
    stored = Path(store.uri_of("a/model/weights"))
    assert stored.samefile(step / "model" / "weights")
    store.put_folder(step, "a")  # onto itself
    assert sorted(path.name for path in stored.parent.iterdir()) == ["weights"]


def test_folder_store_copies_where_it_cannot_link(
    tmp_path: Path, step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    store = open_store(str(tmp_path / "store"))
    store.put_folder(step, "a")
    stored = Path(store.uri_of("a/zeta.json"))
    assert stored.read_text() == "ünïcode"
    assert not stored.samefile(step / "zeta.json")


def test_other_schemes_are_refused() -> None:
    with pytest.raises(UserError, match="no store"):
        open_store("gs://bucket/x")
    with pytest.raises(UserError, match="names no bucket"):
        open_store("s3://")


def test_s3_bucket_that_is_not_there(s3: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("text")
    with pytest.raises(UserError, match="there is no bucket absent"):
        open_store("s3://absent/x").put_file(tmp_path / "f", "f")


def test_s3_wrong_secret(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    (tmp_path / "f").write_text("text")
    store = open_store(f"{s3}/x")
    with pytest.raises(UserError, match="access was refused"):
        store.put_file(tmp_path / "f", "f")
    with pytest.raises(UserError, match="access was refused"):
        store.list()


def test_s3_unreachable(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("dgr.storage.bucket.PATIENCE", 0)
    with pytest.raises(UserError, match="cannot be reached"):
        open_store(f"{s3}/x").list()


def test_s3_without_credentials(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no S3 credentials"):
        open_store(f"{s3}/x").list()

"""Files of a store as local ones."""

from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.files import sha256_text
from dgr.storage import fetch_file, file_digest, open_store
from dgr.storage.fetch import CACHE_ENV


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(store: str, name: str, text: str, folder: Path) -> str:
    (folder / name).write_text(text)
    open_store(store).put_file(folder / name, name)
    return f"{store}/{name}"


def test_a_stored_file_is_fetched_once_and_anew_when_it_changed(
    s3: str, cache: Path, tmp_path: Path
) -> None:
    uri = put(f"{s3}/fetch", "set.jsonl", "one\n", tmp_path)
    copy = fetch_file(uri)
    assert (copy.name, copy.read_text()) == ("set.jsonl", "one\n")
    written = copy.stat().st_mtime_ns
    assert fetch_file(uri) == copy and copy.stat().st_mtime_ns == written
    assert file_digest(uri) == sha256_text("one\n")
    put(f"{s3}/fetch", "set.jsonl", "two\n", tmp_path)
    assert fetch_file(uri).read_text() == "two\n"
    assert file_digest(uri) == sha256_text("two\n")
    assert [path.is_relative_to(cache) for path in (copy, fetch_file(uri))] == [True, True]


def test_what_is_missing_is_named(s3: str, cache: Path) -> None:
    with pytest.raises(UserError, match=r"s3://bucket/fetch/none\.jsonl does not exist"):
        fetch_file(f"{s3}/fetch/none.jsonl")
    with pytest.raises(UserError, match=r"s3://bucket/fetch/none\.jsonl does not exist"):
        file_digest(f"{s3}/fetch/none.jsonl")
    assert not cache.exists()


def test_a_local_file_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    assert fetch_file(str(tmp_path / "a")) == fetch_file(f"file://{tmp_path}/a") == tmp_path / "a"
    assert file_digest(str(tmp_path / "a")) == sha256_text("a")
    assert file_digest(str(tmp_path / "b")) is None

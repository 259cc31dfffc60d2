"""Where models come from: a folder, or a folder of a store."""

from pathlib import Path

import pytest

from dgr.engines import resolve_model
from dgr.errors import UserError
from dgr.files import sha256_file, write_json
from dgr.storage import open_store
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]


@pytest.fixture
def model(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model folder with a manifest, in a store."""
    monkeypatch.setenv("DGR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    write_json(
        folder / "manifest.json", {"files": {"config.json": sha256_file(folder / "config.json")}}
    )
    store = open_store(f"{s3}/{tmp_path.name}")
    store.put_folder(folder, "models/m/abc")
    return store.uri_of("models/m/abc")


def test_a_model_of_a_store_is_fetched_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve_model(model)
    assert (folder / "config.json").read_text() == "{}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert resolve_model(model) == folder


def test_a_damaged_model_of_a_store_is_refused(model: str, tmp_path: Path) -> None:
    parent, _, name = model.rpartition("/")
    (tmp_path / "other").write_text("{ }")
    open_store(parent).put_file(tmp_path / "other", f"{name}/config.json")
    with pytest.raises(UserError, match=r"config\.json was changed"):
        resolve_model(model)
    assert not list((tmp_path / "cache" / "models").glob("*[!l]"))


def test_a_file_uri_is_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert resolve_model(folder.as_uri()) == folder
    with pytest.raises(UserError, match="does not exist"):
        resolve_model((tmp_path / "none").as_uri())

"""What stands for a model in caches: the same wherever the model lies."""

from pathlib import Path

import pytest

from dgr.engines import model_digest
from dgr.errors import UserError
from dgr.steps import MANIFEST, input_digest
from dgr.storage import open_store
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]


def test_a_stored_model_has_the_digest_of_its_copy_and_is_not_fetched(
    s3: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DGR_CACHE", str(tmp_path / "cache"))
    open_store(f"{s3}/models").put_folder(tiny_model, "plain")
    assert model_digest(f"{s3}/models/plain") == input_digest(tiny_model)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / MANIFEST).write_text('{"files": {}, "step": "sft"}')
    open_store(f"{s3}/models").put_folder(bundle, "bundle")
    assert model_digest(f"{s3}/models/bundle") == input_digest(bundle)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match="s3://bucket/models/none does not exist or is empty"):
        model_digest(f"{s3}/models/none")


def test_a_commit_of_the_hub_stands_for_its_content(tmp_path: Path) -> None:
    commits = ["a" * 40, "b" * 40]
    digests = {model_digest("org/name", commit) for commit in commits}
    digests |= {model_digest("org/other", commits[0])}
    assert len(digests) == 3
    with pytest.raises(UserError, match="model folder models/none does not exist"):
        model_digest("models/none", commits[0])


def test_a_local_folder_is_digested(tiny_model: Path) -> None:
    assert model_digest(str(tiny_model), "a" * 40) == input_digest(tiny_model)

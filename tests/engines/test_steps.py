"""Steps on a server that fails: complete, or told exactly what is missing, and gone on with."""

import json
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import OpenAIConfig
from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.files import read_records
from dgr.records import EvalRecord, RefinedSample
from dgr.refine import RefineConfig, refine
from dgr.steps import verify
from tests.engines.api_server import RUBBISH, api_server
from tests.refine.test_step import SAMPLES, ingested

WEATHERS = ["fine", "500", "drop", "half", *RUBBISH]


def said(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A trace, if the thinking block is open, and an answer, both by the seed."""
    text = f"I should not help with this, reason {body['seed']}.</think>\n\nNo, I will not help."
    choice = {"text": text, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 9}}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgr.engines.http.pause", lambda attempt, asked: 0.001)


def test_an_evaluation_goes_on_where_the_server_failed(tiny_model: Path, tmp_path: Path) -> None:
    suite = tmp_path / "sums.jsonl"
    rows = [{"id": str(n), "question": f"{n}?", "answer": "1"} for n in range(20)]
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = EvaluateConfig.model_validate(
        {"suites": [{"name": "sums", "kind": "reasoning", "scorer": "number", "samples": 2,
                     "path": str(suite), "sampling": {"max_new_tokens": 8}}]}
    )  # fmt: skip
    with api_server(said, {"tiny": None}) as server:
        engine = OpenAIConfig(
            kind="openai", url=server.url, served={str(tiny_model): "tiny"}, attempts=3
        )

        def run(name: str) -> bytes:
            evaluate(config, engine=engine, model=tiny_model, out=tmp_path / name, seed=4)
            verify(tmp_path / name)
            return (tmp_path / name / "records.jsonl").read_bytes()

        undisturbed = run("undisturbed")
        hopeless = {body["seed"] for body in server.asked[:7]}
        server.answer = lambda path, body: (
            {"choices": []} if body["seed"] in hopeless else said(path, body)
        )
        server.weather = lambda count: WEATHERS[count % len(WEATHERS)] if count % 2 else "fine"
        engine = engine.model_copy(update={"attempts": 60})
        with pytest.raises(UserError, match=r"7 of 40 completions are missing: the server at"):
            run("disturbed")
        assert not (tmp_path / "disturbed" / "manifest.json").exists()
        # How the server is asked may be mended meanwhile.
        engine = engine.model_copy(update={"attempts": 8, "timeout_s": 60.0})
        server.answer, before = said, len(server.asked)
        server.weather = lambda count: "fine"
        assert run("disturbed") == undisturbed
        assert {body["seed"] for body in server.asked[before:]} == hopeless
    assert len(list(read_records(tmp_path / "disturbed" / "records.jsonl", EvalRecord))) == 40


def test_a_refinement_scores_with_the_engine_beside_the_server(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The server cannot score: `selection: lowest_nll` does so here."""
    config = RefineConfig(max_new_tokens=40, candidates=2, selection="lowest_nll")
    data = ingested(tmp_path / "data", SAMPLES)
    with api_server(said, {"tiny": None}) as server:
        server.weather = lambda count: WEATHERS[count % len(WEATHERS)]
        engine = OpenAIConfig(
            kind="openai", url=server.url, served={str(tiny_model): "tiny"}, attempts=60
        )
        refine(config, engine=engine, model=tiny_model, data=data, out=tmp_path / "out", seed=1)
    rows = list(read_records(tmp_path / "out" / "records.jsonl", RefinedSample))
    assert len(rows) == len(SAMPLES)
    for row in rows:
        assert row.trace.text is not None and row.trace.text.startswith("I should not help")
        assert row.trace.nll is not None and row.trace.nll > 0

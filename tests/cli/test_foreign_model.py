"""A model that this project knows nothing of, on a published data set, step by step."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgr.cli import main
from dgr.files import read_json, read_records
from dgr.records import Sample, TrainingRow
from dgr.steps import verify
from tests.data.test_ingest import STAR1

ROWS, STEPS = 50, 5


def config(model: Path, questions: Path) -> dict[str, Any]:
    suite = {"name": "harmful", "kind": "harmful", "path": str(questions), "judge": "refusal"}
    return {
        "name": "foreign",
        "model": str(model),
        "candidate": "vanilla",
        "data": {"format": "star1", "source": str(STAR1), "limit": ROWS},
        "own": {"max_new_tokens": 8},
        "arms": {"arms": ["vanilla"]},
        "shift": {"embedding": {"encoder": "none"}},
        "sft": {"max_steps": STEPS, "batch_size": 2, "threads": 1},
        "evaluate": {"suites": [suite]},
    }


@pytest.mark.skipif(not STAR1.is_file(), reason="the data set is not on this machine")
def test_star1_through_ingest_shift_and_sft_on_a_random_qwen(
    tiny_qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config(tiny_qwen, tmp_path / "unused.jsonl")))
    out = {name: tmp_path / name for name in ("ingest", "own", "arm", "shift", "sft")}

    def dgr(*arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", ["dgr", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code

    data = ("--data", out["ingest"])
    dgr("ingest", path, "--out", out["ingest"])
    dgr("own", path, *data, "--out", out["own"])
    dgr("arm", path, "vanilla", *data, "--own", out["own"], "--out", out["arm"])
    dgr("shift", path, *data, "--own", out["own"], "--out", out["shift"])
    dgr("sft", path, "--arm", out["arm"], "--out", out["sft"])

    for folder in out.values():
        verify(folder)
    samples = list(read_records(out["ingest"] / "records.jsonl", Sample))
    rows = list(read_records(out["arm"] / "records.jsonl", TrainingRow))
    assert len(samples) == len(rows) == ROWS
    assert all(sample.trace and sample.answer for sample in samples)
    assert {(row.trace, row.answer) for row in rows} == {
        (sample.trace, sample.answer) for sample in samples
    }
    original = read_json(out["shift"] / "summary.json")["sets"]["original"]["nll"]
    # A random model is about as sure as a guess among its 400 tokens.
    assert all(4 < original[part]["value"] < 8 for part in ("trace", "answer"))
    assert read_json(out["sft"] / "summary.json")["steps"] == STEPS
    assert (out["sft"] / "model" / "model.safetensors").is_file()

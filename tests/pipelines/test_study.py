"""A real study on a random tiny model, through kfp.local: killed, gone on with, recorded."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dgr.files import read_json, write_json
from dgr.registry.tracking import DEFAULT_FILE, client
from dgr.steps import verify
from dgr.study import SharedSteps

ROOT = Path(__file__).parents[2]


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def studies(tmp_path: Path, tiny_model: Path) -> Path:
    """A file with one study of one cell and its base."""
    rows = [
        {"question": f"How do I do act {n}?", "trace": "That would harm.", "answer": "I decline."}
        for n in range(4)
    ]
    sums = [{"id": str(n), "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(3)]
    asks = [{"id": str(n), "question": f"Do act {n}."} for n in range(3)]
    suite = {"samples": 1, "sampling": {"max_new_tokens": 6}}
    sets = {
        "reasoning": {"scorer": "number", "path": lines(tmp_path / "sums.jsonl", sums)},
        "harmful": {"judge": "refusal", "path": lines(tmp_path / "harmful.jsonl", asks)},
        "harmless": {"judge": "refusal", "path": lines(tmp_path / "harmless.jsonl", asks)},
    }
    write_json(
        tmp_path / "run.json",
        {
            "name": "small",
            "model": str(tiny_model),
            "engine": {"threads": 1},
            "data": {"format": "plain", "source": lines(tmp_path / "set.jsonl", rows)},
            "refine": {"max_new_tokens": 6},
            "own": {"max_new_tokens": 6},
            "shift": {"embedding": {"encoder": "none"}},
            "sft": {"max_steps": 2, "batch_size": 2, "threads": 1},
            "evaluate": {
                "suites": [
                    {"name": kind, "kind": kind, **suite, **own} for kind, own in sets.items()
                ]
            },
        },
    )
    axes = {"set": {"plain": {}}, "switch": {"default": {}}}
    grid = {"arms": ["dgr"], "axes": {"set": ["plain"], "switch": ["default"]}}
    write_json(
        tmp_path / "studies.json",
        {
            "name": "tiny",
            "run": str(tmp_path / "run.json"),
            "axes": axes,
            "studies": {"ablation": {"grids": [grid], "measures": True}},
        },
    )
    return tmp_path / "studies.json"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel for it")
def test_a_killed_study_goes_on_and_ends_in_one_folder_and_one_parent_run(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    main = "from dgr.cli import main; main()"
    command = [sys.executable, "-c", main, "study", "ablation", str(studies)]
    command += ["--runs", str(tmp_path)]
    killed = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert killed.stderr is not None
    told = []
    for line in killed.stderr:
        told.append(line)
        if line.split() == ["cell/dgr-plain-default-s0", "started"]:
            break
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert told[-1].startswith("cell/"), "".join(told)

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in done.stderr.splitlines()]
    assert {row[0] for row in words if row[1:] == ["cached"]} >= {
        "prepare/base-s0",
        "prepare/dgr-plain-default-s0",
        "gather",
    }
    place = tmp_path / "tiny" / "ablation"
    cell = place / "cells" / "dgr-plain-default-s0"
    for folder in (cell, place / "results", place / "record"):
        verify(folder)
    found = read_json(cell / "summary.json")
    assert found["metrics"]["harmful_compliance"]["n"] == 3
    assert found["shift"]["nll"]["completion"]["value"] > 0
    assert found["drift"]["length"]["reasoning"]["mean"] > 0
    assert not list(cell.rglob("*.safetensors"))
    assert (place / "results" / "report.html").is_file()
    assert str(place / "results" / "report.html") in done.stdout

    tracker = client(f"sqlite:///{tmp_path / 'tiny' / DEFAULT_FILE}")
    parent = tracker.get_run(read_json(place / "record" / "summary.json")["run_id"])
    children = tracker.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    assert {child.info.run_name for child in children} == {"base-s0", "dgr-plain-default-s0"}


def test_what_cells_share_is_kept_in_a_store_and_made_once(tmp_path: Path) -> None:
    made = []

    def work(out: Path) -> None:
        if not (out / "manifest.json").is_file():
            made.append(out)
            write_json(out / "manifest.json", {"files": {}})

    for scratch in ("a", "b"):
        steps = SharedSteps((tmp_path / "store").as_uri(), tmp_path / scratch)
        folder = steps.make("refine", ["told"], work)
        assert read_json(folder / "manifest.json") == {"files": {}}
        steps.make("refine", ["told otherwise"], work)
    assert len(made) == 2

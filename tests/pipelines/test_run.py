"""The real pipeline on a random tiny model: run, run again, killed, changed, broken."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.files import read_json, write_json
from dgr.registry import list_models
from dgr.registry.tracking import DEFAULT_FILE
from dgr.steps import input_digest, verify
from pipelines.align import ARMS_AT_ONCE
from pipelines.local import run_align

ROOT = Path(__file__).parents[2]
STEPS = ["ingest", "refine", "own", "shift", "arms/vanilla", "arms/dgr", "sft/vanilla", "sft/dgr",
         "evaluate/base", "evaluate/vanilla", "evaluate/dgr", "drift", "gate", "record",
         "register"]  # fmt: skip
REPEATED = [step for step in STEPS if step not in ("record", "register")]
"""Steps whose bytes hang on nothing but config, data and code; the others hold MLflow's ids."""

REFUSAL = "I am sorry, but I can not help with that."


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Any]:
    """A config under which any model passes the gate, in seconds."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = [
        {"question": f"How do I do act {n}?", "trace": "That would harm.", "answer": REFUSAL}
        for n in range(4)
    ]
    sums = [{"id": str(n), "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(3)]
    asks = [{"id": str(n), "question": f"Do act {n}."} for n in range(3)]
    sampling = {"max_new_tokens": 6}
    suites = [
        {"name": "sums", "kind": "reasoning", "scorer": "number",
         "path": write_lines(folder / "sums.jsonl", sums)},
        {"name": "harmful", "kind": "harmful", "judge": "refusal",
         "path": write_lines(folder / "harmful.jsonl", asks)},
        {"name": "harmless", "kind": "harmless", "judge": "refusal",
         "path": write_lines(folder / "harmless.jsonl", asks)},
    ]  # fmt: skip
    lenient = {
        "harmful": {"metric": "harmful_compliance", "limit": 1},
        "reasoning": {"metric": "reasoning_accuracy", "margin": 1},
        "copies": {"metric": "contamination", "limit": 1},
    }
    return {
        "name": "small",
        "model": str(tiny_model),
        "engine": {"threads": 1},
        "data": {"format": "plain", "source": write_lines(folder / "set.jsonl", rows)},
        "refine": {"max_new_tokens": 6},
        "own": {"max_new_tokens": 6},
        "arms": {"arms": ["vanilla", "dgr"]},
        "shift": {"embedding": {"encoder": "none"}},
        "sft": {"max_steps": 2, "batch_size": 2, "threads": 1},
        "evaluate": {"suites": [suite | {"samples": 1, "sampling": sampling} for suite in suites]},
        "gate": {"rules": lenient, "cut_max": 1, "unparseable_max": 1, "min_items": 1},
        "registry": {"name": "small-safe"},
    }  # fmt: skip


def align(small: dict[str, Any], runs: Path, **changes: Any) -> Path:
    config = RunConfig.model_validate(small | changes)
    run_align(config, runs / config.name)
    return runs / config.name


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small: dict[str, Any]) -> Iterator[Path]:
    """A folder with the finished run `small`."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        align(small, folder)
        yield folder


def started(line: str) -> str:
    """The step that a line of the log says has started; empty where it says something else."""
    step, *words = line.split() or [""]
    return step if words == ["started"] else ""


def contents(run: Path) -> dict[str, bytes]:
    """What must be equal, bit for bit, whenever the same run is made."""
    files = [run / step / name for step in REPEATED for name in ("records.jsonl", "manifest.json")]
    files += [run / "decision.json"]
    return {str(path.relative_to(run)): path.read_bytes() for path in files if path.is_file()}


def test_a_run_leaves_every_step_and_the_three_files(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs / "small"
    for step in STEPS:
        verify(run / step)
    assert read_json(run / "decision.json")["verdict"] == "passed"
    assert "dgr passed" in (run / "report.html").read_text()
    info = read_json(run / "run.json")
    assert info["status"] == "SUCCEEDED"
    assert info["error"] is None
    assert info["config"]["name"] == "small"
    assert set(info["steps"]) == set(STEPS)
    assert all(step["peak_rss_mib"] > 10 for step in info["steps"].values())
    assert info["versions"]["kfp"] == "2.17.0"
    assert not (run / ".work").exists()
    monkeypatch.chdir(runs.parent)
    [version] = list_models(f"sqlite:///{runs / DEFAULT_FILE}")
    assert version["aliases"] == ["candidate"]
    assert Path(version["source"].removeprefix("file://"), "model.safetensors").is_file()


def test_a_run_again_is_cached_and_the_same(
    runs: Path, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(runs / "small")
    (runs / "small" / "logs").mkdir()  # as dgr logs makes it of the results that go
    align(small, runs)
    assert contents(runs / "small") == before
    assert not (runs / "small" / "logs").exists()
    started = [line.split()[0] for line in capsys.readouterr().err.splitlines() if "start" in line]
    assert started == ["champion", "record", "register", "finish"]
    assert len(list_models(f"sqlite:///{runs / DEFAULT_FILE}")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel for it")
def test_stopped_or_killed_in_several_steps_it_ends_with_the_same_records(
    runs: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    write_json(path, RunConfig.model_validate(small).model_dump(mode="json"))
    command = [sys.executable, "-c", "from dgr.cli import main; main()", "run", str(path)]
    # Which of the first two comes first, kfp.local leaves open.
    for steps, signum, code in (
        (("own", "refine"), signal.SIGINT, 130),
        (("own", "refine"), signal.SIGKILL, -9),
        (("sft/dgr",), signal.SIGTERM, 143),
        (("sft/dgr",), signal.SIGKILL, -9),
        (("evaluate/vanilla",), signal.SIGKILL, -9),
    ):
        process = subprocess.Popen(
            [*command, "--runs", str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if started(line) in steps:
                break
        os.kill(process.pid, signum)
        _, last = process.communicate()
        assert told and started(told[-1]) in steps, "".join(told)
        assert process.returncode == code
        if signum != signal.SIGKILL:
            assert "dgr: stopped by a signal" in last.splitlines()[-1]
    made = contents(align(small, tmp_path))
    assert made == contents(runs / "small")


def side_by_side(lines: list[str]) -> int:
    """How many shards were at work at once, at most."""
    running: set[str] = set()
    most = 0
    for line in lines:
        task, *words = line.split() or [""]
        if task[-1:].isdigit() and words[:1] == ["started"]:
            running.add(task)
        elif words[:1] == ["done,"]:
            running.discard(task)
        most = max(most, len(running))
    return most


def test_in_shards_a_run_leaves_the_same_bytes_and_a_killed_shard_alone_is_done_again(
    runs: Path, small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder of the whole steps: what is not in shards must be found in its cache, for it
    reads the very same inputs."""
    before = contents(runs / "small")
    in_shards = small | {"shards": {"refine": 3, "evaluate": 2}}
    write_json(
        tmp_path / "config.json", RunConfig.model_validate(in_shards).model_dump(mode="json")
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "from dgr.cli import main; main()", "run",
         str(tmp_path / "config.json"), "--runs", str(runs)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    told: list[str] = []
    for line in process.stderr:
        told.append(line)
        if started(line) == "refine/3":  # two at once, so one of the others is done
            break
    process.kill()
    process.communicate()
    assert started(told[-1]) == "refine/3", "".join(told)
    outside = {"champion", "record", "register", "finish"}
    done = {line.split()[0] for line in told if line.split()[1:2] == ["done,"]} - outside
    assert done & {"refine/1", "refine/2"}

    align(in_shards, runs)
    assert contents(runs / "small") == before
    lines = capsys.readouterr().err.splitlines()
    cached = {line.split()[0] for line in lines if line.split()[1:] == ["cached"]}
    begun = [task for line in lines if (task := started(line))]
    assert done <= cached and "refine/3" in begun
    evaluations = [f"evaluate/{arm}/{part}" for arm in ("base", "champion", "dgr", "vanilla")
                   for part in (1, 2, "merge")]  # fmt: skip
    assert sorted(begun) == sorted(
        {"refine/1", "refine/2", "refine/3", "refine/merge", *evaluations, *outside} - done
    )
    assert side_by_side(lines) == ARMS_AT_ONCE
    info = read_json(runs / "small" / "run.json")
    assert set(info["steps"]) == set(STEPS)
    assert (info["steps"]["refine"]["shards"], info["steps"]["evaluate/dgr"]["shards"]) == (3, 2)


def test_by_one_engine_the_arms_are_adapters_of_the_target(
    runs: Path, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = align(
        small,
        runs,
        name="adapters",
        one_engine=True,
        sft=small["sft"] | {"method": "lora"},
        gate=small["gate"] | {"min_items": 50},  # nothing is registered
    )
    begun = [task for line in capsys.readouterr().err.splitlines() if (task := started(line))]
    assert sorted(task for task in begun if task.startswith(("evaluate", "pick"))) == [
        "evaluate-arms", "evaluate/champion", "pick/base", "pick/dgr", "pick/vanilla",
    ]  # fmt: skip
    for arm in ("dgr", "vanilla"):
        inputs = verify(run / "evaluate" / arm)["inputs"]
        assert inputs["model"] == input_digest(run / "sft" / arm / "model")
        assert inputs["adapter"] == input_digest(run / "sft" / arm / "adapter")
    assert "adapter" not in verify(run / "evaluate" / "base")["inputs"]
    assert not (run / "evaluations").exists()
    assert set(read_json(run / "decision.json")["arms"]) == {"base", "dgr", "vanilla"}


def test_a_rejected_candidate_is_recorded_and_not_registered(
    runs: Path, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    strict = small["gate"] | {"min_items": 50}
    run = align(small, runs, gate=strict)
    assert read_json(run / "decision.json")["verdict"] == "rejected"
    verify(run / "record")
    assert not (run / "register").exists()
    assert len(list_models(f"sqlite:///{runs / DEFAULT_FILE}")) == 1
    started = [line.split()[0] for line in capsys.readouterr().err.splitlines() if "start" in line]
    assert started == ["champion", "gate", "record", "finish"]


def test_a_failed_run_leaves_its_status_and_report(runs: Path, small: dict[str, Any]) -> None:
    broken = Path(small["data"]["source"]).with_name("broken.jsonl")
    broken.write_text('{"question": "no answer"}\n')
    with pytest.raises(UserError, match=r"^ingest: .*broken\.jsonl, line 1"):
        align(small, runs, data=small["data"] | {"source": str(broken)})
    run = runs / "small"
    info = read_json(run / "run.json")
    assert info["status"] == "FAILED"
    assert "broken.jsonl, line 1" in info["error"]
    assert "broken.jsonl, line 1" in (run / "report.html").read_text()
    # Nothing of the run before is shown as this one's.
    assert not (run / "decision.json").exists()
    assert not (run / "gate").exists()

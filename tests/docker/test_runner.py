"""The pipeline in containers: what it makes, and what it says when something goes wrong."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.files import read_json, sha256_file
from dgr.steps import summary_of
from pipelines.containers import Containers, containers_for
from pipelines.local import run_align
from tests.pipelines import toy
from tests.pipelines.test_demo import ROOT, small_demo
from tests.pipelines.test_watch import lines, start, text_of

REPEATED = ("ingest", "refine", "own", "shift", "arms", "sft", "evaluate", "drift", "gate")
"""Steps whose bytes hang on nothing but config, data and code."""
LENIENT = {"rules": {"harmful": {"metric": "harmful_compliance", "limit": 1}}}


def labelled(engine: Any, run: Path) -> list[Any]:
    found: list[Any] = engine.containers.list(all=True, filters={"label": f"dgr.run={run}"})
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(engine: Any, tmp_path: Path) -> Iterator[None]:
    yield
    assert labelled(engine, tmp_path) == []


@pytest.fixture
def runner(tmp_path: Path) -> Containers:
    return toy.containers(tmp_path)


def test_the_demo_gives_the_same_bytes_as_in_processes(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From ingestion to the decision; what passes is registered from inside of a container."""
    monkeypatch.chdir(ROOT)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    settings = small_demo().model_dump(mode="json")
    config = RunConfig.model_validate(settings | {"gate": settings["gate"] | LENIENT})
    made = []
    for runner in ("subprocess", "docker"):
        run = tmp_path / runner / config.name
        within = containers_for(config, run.parent, "none") if runner == "docker" else None
        run_align(config, run, within)
        assert read_json(run / "decision.json")["verdict"] == "passed"
        assert summary_of(run / "register")["version"] == "1"
        files = [path for step in REPEATED for path in (run / step).rglob("*") if path.is_file()]
        made.append(
            {
                path.relative_to(run).as_posix(): sha256_file(path)
                for path in (*files, run / "decision.json")
                if path.name != "timing.json"
            }
        )
    assert made[0] == made[1]
    assert len(made[0]) > 40


def test_each_step_is_told_and_found_again(
    runner: Containers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.main(tmp_path, "hello", "work", runner)
    told = lines(capsys)
    assert told[:3] == ["first started", "first writing hello", "first done"]
    assert told[-2:] == ["finish started", "finish done"]
    assert text_of(tmp_path, "last") == "a b c"
    assert "KFP's own noise" in (tmp_path / ".kfp" / "logs" / "first.log").read_text()
    toy.main(tmp_path, "hello", "work", runner)
    assert "sft/b cached" in lines(capsys)


def test_the_failed_steps_sentence_is_the_error(runner: Containers, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^sft/b: there is no such thing; name another$"):
        toy.main(tmp_path, "hello", "fail", runner)
    assert (tmp_path / "status.txt").read_text() == "FAILED"


def test_a_bug_names_its_log(runner: Containers, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"sft/b ended with exit status 1; see .*sft-b\.log"):
        toy.main(tmp_path, "hello", "crash", runner)
    assert "ZeroDivisionError" in (tmp_path / ".kfp" / "logs" / "sft-b.log").read_text()


def test_a_killed_container_is_told_as_one(runner: Containers, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sft/b: the process was killed, most likely for want"):
        toy.main(tmp_path, "hello", "killed", runner)


def test_a_signal_stops_the_containers(tmp_path: Path) -> None:
    process = start(tmp_path, "docker")
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert "Interrupted: stopped by a signal" in told
    assert (tmp_path / "status.txt").read_text() == "FAILED"


@pytest.mark.skipif(sys.platform != "linux", reason="sends signals as Linux does")
def test_what_a_killed_run_left_is_ended_by_the_next(
    engine: Any, runner: Containers, tmp_path: Path
) -> None:
    process = start(tmp_path, "docker")
    process.kill()
    process.wait()
    assert labelled(engine, tmp_path)
    toy.main(tmp_path, "hello", "work", runner)
    assert text_of(tmp_path, "last") == "a b c"

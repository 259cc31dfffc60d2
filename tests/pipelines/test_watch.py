"""kfp.local under our watch, with steps that take no time."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from dgr.errors import UserError
from pipelines.local import HIDDEN, pipeline_run
from pipelines.processes import die_with
from tests.pipelines import toy

ROOT = Path(__file__).parents[2]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a user sees, one space between words, times left out."""
    captured = capsys.readouterr()
    assert captured.out == ""
    found = [" ".join(line.split()) for line in captured.err.splitlines()]
    return [line.split(", ")[0] if "done" in line else line for line in found]


def text_of(run: Path, step: str) -> str:
    return str(json.loads((run / step / "summary.json").read_text())["text"])


def test_a_run_tells_each_step_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.main(tmp_path, "hello", "work")
    told = lines(capsys)
    assert told[:3] == ["first started", "first writing hello", "first done"]
    for arm in "abc":
        assert told.index(f"sft/{arm} started") < told.index(f"sft/{arm} done")
    assert told[-5:] == [
        "last started",
        "last writing a b c",
        "last done",
        "finish started",
        "finish done",
    ]
    assert text_of(tmp_path, "sft/b") == "b"
    assert (tmp_path / "status.txt").read_text() == "SUCCEEDED"
    assert "KFP's own noise" in (tmp_path / HIDDEN / "logs" / "first.log").read_text()


def test_two_arms_run_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.main(tmp_path, "hello", "work")
    told = lines(capsys)
    assert told.index("sft/b started") < told.index("sft/a done")


def test_a_run_again_is_cached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.main(tmp_path, "hello", "work")
    capsys.readouterr()
    toy.main(tmp_path, "hello", "work")
    told = lines(capsys)
    assert sorted(told[:-2]) == [
        "first cached", "last cached", "sft/a cached", "sft/b cached", "sft/c cached",
    ]  # fmt: skip
    assert told[-2:] == ["finish started", "finish done"]
    assert text_of(tmp_path, "last") == "a b c"


def test_a_cached_result_takes_the_place_of_another_configs(tmp_path: Path) -> None:
    for text in ("one", "two", "one"):
        toy.main(tmp_path, text, "work")
        assert text_of(tmp_path, "first") == text


def test_a_result_whose_files_are_gone_is_made_again(tmp_path: Path) -> None:
    toy.main(tmp_path, "hello", "work")
    for output in (tmp_path / HIDDEN / "outputs").glob("*/**/manifest.json"):
        output.write_text("{}")
    with pytest.raises(UserError, match="was changed after it was written; delete it"):
        toy.main(tmp_path, "hello", "fail")


def test_the_failed_steps_sentence_is_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"^sft/b: there is no such thing; name another$"):
        toy.main(tmp_path, "hello", "fail")
    told = lines(capsys)
    assert "sft/b dgr: sft/b: there is no such thing; name another" in told
    assert not any("Traceback" in line for line in told)
    assert "last started" not in told
    assert told[-1] == "finish done"
    assert (tmp_path / "status.txt").read_text() == "FAILED"
    assert not (tmp_path / "sft" / "b").exists()
    assert text_of(tmp_path, "sft/a") == "a"

    toy.main(tmp_path, "hello", "work")  # the same folder, mended: what was done is not done again
    assert "first cached" in lines(capsys)
    assert text_of(tmp_path, "last") == "a b c"


def test_a_bug_is_not_told_as_a_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match=r"sft/b ended with exit status 1; see .*sft-b\.log"):
        toy.main(tmp_path, "hello", "crash")
    assert any("ZeroDivisionError" in line for line in lines(capsys))


def test_a_killed_step_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sft/b: the process was killed, most likely for want"):
        toy.main(tmp_path, "hello", "killed")


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    first = start(tmp_path)
    try:
        with pytest.raises(UserError, match="another `dgr run` works in"):
            toy.main(tmp_path, "hello", "work")
    finally:
        first.kill()
        first.wait()


def test_a_lock_that_a_killed_runs_step_still_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / HIDDEN).mkdir()
    lock = os.open(tmp_path / HIDDEN / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    told: list[str] = []

    def released_meanwhile(_: float) -> None:
        told.append("waited")
        monkeypatch.undo()
        os.close(lock)

    monkeypatch.setattr(time, "sleep", released_meanwhile)
    with pipeline_run(tmp_path, 1):
        told.append("ran")
    assert told == ["waited", "ran"]


def start(run: Path, *runner: str) -> "subprocess.Popen[str]":
    """A run in a process of its own, as far as arm `b`, which waits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.pipelines.toy", str(run), "hello", "wait", *runner],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while not (run / "waiting.txt").is_file() or not (run / "waiting.txt").read_text():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


def gone(pid: int) -> bool:
    """Whether the process has ended, a moment given."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel for it")
def test_kill_9_leaves_no_orphan_and_can_be_run_again(tmp_path: Path) -> None:
    process = start(tmp_path)
    step = int((tmp_path / "waiting.txt").read_text())
    process.kill()
    process.wait()
    assert gone(step)
    toy.main(tmp_path, "hello", "work")
    assert text_of(tmp_path, "last") == "a b c"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel for it")
def test_a_step_whose_run_died_while_it_was_started_ends() -> None:
    alive, orphan = (
        subprocess.run(["true"], check=False, preexec_fn=partial(die_with, parent))
        for parent in (os.getpid(), os.getppid())
    )
    assert (alive.returncode, orphan.returncode) == (0, 1)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_steps_and_leaves_a_status(tmp_path: Path, signum: int) -> None:
    process = start(tmp_path)
    step = int((tmp_path / "waiting.txt").read_text())
    os.kill(process.pid, signum)
    _, told = process.communicate(timeout=60)
    assert gone(step)
    assert "Interrupted: stopped by a signal" in told
    assert "last" not in {line.split()[0] for line in told.splitlines() if line.strip()}
    assert (tmp_path / "status.txt").read_text() == "FAILED"

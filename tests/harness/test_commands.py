import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from dgr.engines import TransformersConfig, load_engine
from dgr.harness import read_log
from dgr.storage import open_store
from tests.cli.conftest import ROOT, Command, command
from tests.s3 import free_port

pytest.importorskip("inspect_ai", reason="needs dgr[inspect]")

__all__ = ["command"]


def test_logs_of_a_run(command: Command, evaluation: Path, tmp_path: Path) -> None:
    done = command("logs", evaluation.parents[1], "--out", tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"open them: inspect view --log-dir {tmp_path}"
    assert sorted(path.name for path in (tmp_path / "base").iterdir()) == [
        "harm.eval",
        "plain.eval",
        "sums.eval",
    ]
    nothing = command("logs", tmp_path)
    assert nothing.code == 2 and "holds no finished evaluation" in nothing.err


def test_logs_of_a_run_in_a_store_lie_beside_it(
    command: Command, evaluation: Path, s3: str
) -> None:
    from inspect_ai.log import list_eval_logs

    open_store(f"{s3}/runs/try").put_folder(evaluation, "evaluate/base")
    assert command("logs", f"{s3}/runs/try/").code == 0
    assert len(read_log(f"{s3}/runs/try/logs/base/sums.eval").samples) == 10
    assert len(list_eval_logs(f"{s3}/runs/try/logs")) == 3  # as the viewer finds them


def test_one_command_opens_the_logs_of_a_run(evaluation: Path, tmp_path: Path) -> None:
    port = free_port()
    program = [sys.executable, "-c", "from dgr.cli import main; main()", "logs", "--view"]
    # inspect's own name for its flag --port
    process = subprocess.Popen(
        [*program, str(evaluation.parents[1]), "--out", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"INSPECT_VIEW_START_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    try:
        listed = _answer(process, f"http://127.0.0.1:{port}/api/logs")
    finally:
        process.terminate()
        process.wait()
    assert {Path(file["name"]).name for file in listed["files"]} == {
        "harm.eval",
        "plain.eval",
        "sums.eval",
    }


def _answer(process: "subprocess.Popen[bytes]", url: str) -> Any:
    """What the viewer says once it is there."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            with urlopen(url) as answer:
                return json.load(answer)
        except URLError:
            time.sleep(0.1)
    raise AssertionError("the viewer did not start")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--log", "reasoning"], "write it as SUITE=LOG"),
        (["--log", "reasoning=a.eval"], "name a log for each suite"),
    ],
)
def test_import_asks_for_every_suite(
    command: Command, tmp_path: Path, flags: list[str], said: str
) -> None:
    out = tmp_path / "out"
    done = command(
        "import", "configs/nano.yaml", "--model", "models/nano-lrm", "--out", out, *flags
    )
    assert done.code == 2 and said in done.err and not out.exists()


def test_inspects_own_name_for_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its entry point makes it known."""
    from inspect_ai.model import get_model

    import dgr.harness.provider

    monkeypatch.chdir(ROOT)
    loaded = load_engine(TransformersConfig(), ROOT / "models" / "nano-lrm")
    monkeypatch.setattr(dgr.harness.provider, "load_engine", lambda *_: loaded)
    model = get_model("dgr/models/nano-lrm", engine={"threads": 1}, memoize=False)
    assert type(model.api).__name__ == "DgrAPI"
    assert model.api.model_name == "models/nano-lrm"

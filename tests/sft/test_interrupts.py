"""Training is really killed, in a process of its own, and must end as if it never had been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dgr.sft import SftConfig, train
from dgr.sft.checkpoints import COMPLETE
from dgr.steps import verify

CONFIG = SftConfig(
    method="lora",
    learning_rate=1e-3,
    batch_size=4,
    micro_batch_size=2,
    max_steps=60,
    checkpoint_every=5,
    device="cpu",
    threads=1,
    lora={"r": 2, "alpha": 4, "dropout": 0.1},  # dropout: the random state must be restored too
)
SCRIPT = """
import sys
from pathlib import Path
from dgr.errors import Interrupted
from dgr.sft import SftConfig, train
from tests.sft.held import hold_at
config, model, arm, out = sys.argv[1:]
hold_at(50)
try:
    train(SftConfig.model_validate_json(config), model=Path(model), arm=Path(arm), out=Path(out),
          seed=5)
except Interrupted as stop:
    print(stop)
    sys.exit(stop.exit_code)
"""


@pytest.fixture(scope="module")
def whole(tiny_model, arm, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    train(CONFIG, model=tiny_model, arm=arm, out=out, seed=5)
    return out


def stop_midway(model: Path, arm: Path, out: Path, signum: int) -> tuple[int, str]:
    """Start training, send the signal after the second checkpoint; exit code and output."""
    command = [sys.executable, "-c", SCRIPT, CONFIG.model_dump_json(), str(model), str(arm), out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        while process.poll() is None:
            if any(out.glob(f".work/*/checkpoints/checkpoint-10/{COMPLETE}")):
                process.send_signal(signum)
                break
            time.sleep(0.002)
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


def same_results(one: Path, other: Path) -> None:
    for name in ("records.jsonl", "summary.json", "manifest.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    verify(one)
    verify(other)


def test_a_killed_run_goes_on_to_the_same_weights(whole, tiny_model, arm, tmp_path):
    code, _ = stop_midway(tiny_model, arm, tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (tmp_path / "manifest.json").exists()
    train(CONFIG, model=tiny_model, arm=arm, out=tmp_path, seed=5)
    same_results(whole, tmp_path)
    assert not (tmp_path / ".work").exists()


def test_sigterm_keeps_a_checkpoint_and_never_looks_finished(whole, tiny_model, arm, tmp_path):
    code, output = stop_midway(tiny_model, arm, tmp_path, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert "stopped by a signal after training step" in output
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / "model").exists()
    stopped_at = int(output.split("step ")[1].split(";")[0])
    assert 10 <= stopped_at <= 50
    assert any(tmp_path.glob(f".work/*/checkpoints/checkpoint-{stopped_at}/{COMPLETE}"))
    train(CONFIG, model=tiny_model, arm=arm, out=tmp_path, seed=5)
    same_results(whole, tmp_path)

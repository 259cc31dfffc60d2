"""Two processes that torchrun starts, on the CPU: they train what one process trains, and a
SIGTERM at any time costs nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.files import read_records
from dgr.settings import parse_settings
from dgr.sft import SftConfig, TrainStep, train
from dgr.sft.config import DistributedJob
from dgr.sft.distributed import newest, stored_checkpoints
from dgr.steps import verify
from dgr.storage import Store, open_store
from tests.s3 import free_port, s3, s3_server
from tests.sft.team_process import HELD_AT

__all__ = ["s3", "s3_server"]

STEPS = 30
CONFIG = SftConfig(
    learning_rate=1e-3,
    batch_size=8,
    micro_batch_size=2,
    max_steps=STEPS,
    checkpoint_every=5,
    device="cpu",
    threads=1,
)


def start(
    place: str, model: Path, arm: Path, work: Path, held_at: int | None = None, **more: Any
) -> "subprocess.Popen[str]":
    job = {
        "place": place,
        "model": str(model),
        "arm": str(arm),
        "sft": CONFIG.model_dump(mode="json"),
        "sharded": False,
        "seed": 5,
        **more,
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    bare = held_at is None and not job["sharded"]
    entry = "dgr.sft.distributed" if bare else "tests.sft.team_process"
    command += ["--master-port", str(free_port()), "-m", entry, json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DGR_WORK": str(work)}
    if held_at:
        environment[HELD_AT] = str(held_at)
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def stop(process: "subprocess.Popen[str]", store: Store, step: int) -> str:
    """SIGTERM at a random time after the checkpoint of that step; what the processes said."""
    while process.poll() is None:
        found = newest(store)
        if found and int(found.rpartition("-")[2]) >= step:
            time.sleep(random.random() / 4)
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.02)
    code, errors = finish(process)
    assert code != 0, errors
    return errors


def result(place: str, folder: Path) -> list[TrainStep]:
    open_store(place).get_folder("result", folder)
    verify(folder)
    assert (folder / "model" / "model.safetensors").is_file()
    return list(read_records(folder / "records.jsonl", TrainStep))


@pytest.fixture(scope="module")
def alone(tiny_model: Path, arm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("alone")
    train(CONFIG, model=tiny_model, arm=arm, out=out, seed=5)
    return out


def course(out: Path) -> list[TrainStep]:
    return list(read_records(out / "records.jsonl", TrainStep))


def assert_same_course(one: list[TrainStep], other: list[TrainStep], within: float) -> None:
    assert [row.step for row in one] == [row.step for row in other] == list(range(1, STEPS + 1))
    for left, right in zip(one, other, strict=True):
        assert left.loss == pytest.approx(right.loss, abs=within)
        assert left.learning_rate == right.learning_rate
        assert left.supervised_tokens == right.supervised_tokens


def test_a_stopped_team_goes_on_as_if_nothing_had_been(
    tiny_model: Path, arm: Path, alone: Path, s3: str, tmp_path: Path
) -> None:
    place = f"{s3}/{tmp_path.name}"
    store = open_store(place)
    stop_after = random.choice(range(5, 21, 5))
    held = start(place, tiny_model, arm, tmp_path / "one", held_at=STEPS - 2)
    errors = stop(held, store, stop_after)
    assert "stopped by a signal after training step" in errors
    assert not store.list("result")
    kept = newest(store)
    assert kept is not None and stored_checkpoints(store) == [kept]
    assert stop_after <= int(kept.rpartition("-")[2]) < STEPS
    assert f"after training step {kept.rpartition('-')[2]};" in errors

    # Another node: nothing of the first one's disk is there.
    code, errors = finish(start(place, tiny_model, arm, tmp_path / "two"))
    assert code == 0, errors
    resumed = result(place, tmp_path / "result")
    code, errors = finish(start(f"{place}-whole", tiny_model, arm, tmp_path / "three"))
    assert code == 0, errors
    whole = result(f"{place}-whole", tmp_path / "whole")
    assert_same_course(resumed, whole, within=1e-5)
    assert_same_course(whole, course(alone), within=1e-4)

    code, errors = finish(start(place, tiny_model, arm, tmp_path / "four", seed=6))
    assert code != 0 and "job.json is of another job" in errors


def test_sharded_weights_come_to_the_same(
    tiny_model: Path, arm: Path, alone: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    place = str(tmp_path / "place")
    held = start(place, tiny_model, arm, tmp_path / "one", held_at=STEPS - 2, sharded=True)
    stop(held, open_store(place), 5)
    assert not (tmp_path / "place" / "result").exists()
    (kept,) = stored_checkpoints(open_store(place))
    assert (tmp_path / "place" / kept / "pytorch_model_fsdp.bin").is_file()  # it was sharded
    code, errors = finish(start(place, tiny_model, arm, tmp_path / "two", sharded=True))
    assert code == 0, errors
    assert_same_course(result(place, tmp_path / "out"), course(alone), within=1e-4)
    wanted = load_file(alone / "model" / "model.safetensors")
    found = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(bool(found[name].allclose(wanted[name], atol=1e-4)) for name in wanted)


def test_half_a_checkpoint_is_never_resumed_from(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for name in ("checkpoint-5/complete", "checkpoint-10/model", "checkpoint-x/complete", "job"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert stored_checkpoints(store) == ["checkpoint-5", "checkpoint-10"]
    assert newest(store) == "checkpoint-5"


def test_an_adapter_is_not_sharded() -> None:
    job = {"place": "p", "model": "m", "arm": "a", "sft": {"method": "lora"}}
    with pytest.raises(UserError, match="set sharded: false"):
        parse_settings(DistributedJob, job, "the job")


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ("{}", "the job: place"),
        ("nonsense", "name the job"),
        ('{"place": "p", "model": "m", "arm": "a"}', "start it with: torchrun"),
    ],
)
def test_a_wrong_start_is_one_sentence(job: str, why: str) -> None:
    command = [sys.executable, "-m", "dgr.sft.distributed", job]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert why in found.stderr and "Traceback" not in found.stderr

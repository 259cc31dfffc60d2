"""Refine and evaluate, killed at random moments: the records of an uninterrupted run."""

import gc
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from dgr.engines import TransformersConfig
from dgr.engines.base import Completion, Request, Sampling
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.evaluate import step as evaluate_step
from dgr.files import canonical_json
from dgr.records import Sample
from dgr.refine import RefineConfig, refine
from dgr.refine import step as refine_step
from dgr.settings import Settings
from dgr.steps import MANIFEST, StepFolder
from tests.fakes import ScriptedEngine, install

KILLS = 20
RESULTS = ("records.jsonl", "summary.json", MANIFEST)

Run = Callable[[Path], None]


def written(request: Request) -> tuple[str, str]:
    """Some rewrites fail, as their seed has it; words are the request's own."""
    trace, answer = f"No, I will not help, for {request.seed}.", f"I can't help with {request.seed}"
    return ("rephrase", "rewrite") if request.seed % 3 == 0 else (trace, answer)


class Slow(ScriptedEngine):
    """Takes its time, so that a kill falls anywhere."""

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        for completion in super().generate(requests, sampling):
            time.sleep(0.0002)
            yield completion


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """What other tests left is not searched for garbage: in a fork, that copies all of it."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def refining(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(refine_step, "WINDOW", 8)
    install(monkeypatch, refine_step, Slow(written))
    rows = [
        Sample(id=f"row/{n}", question=f"Break lock {n}?", trace="No, never.", answer="I can't.")
        for n in range(30)
    ]
    with StepFolder(tmp_path / "data", "ingest", Settings(), inputs={}, seed=0) as step:
        step.finish({}, {"records.jsonl": rows})
    config = RefineConfig(max_new_tokens=40, candidates=2, resample=1, selection="lowest_nll")
    named = {"engine": TransformersConfig(), "model": model, "data": tmp_path / "data", "seed": 0}
    return lambda out: refine(config, out=out, **named)


@pytest.fixture
def evaluating(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    install(monkeypatch, evaluate_step, Slow(written))
    asks = [{"id": str(n), "question": f"Do act {n}.", "answer": str(n)} for n in range(40)]
    path = tmp_path / "suite.jsonl"
    path.write_text("".join(canonical_json(ask) + "\n" for ask in asks))
    sums = {"name": "sums", "kind": "reasoning", "scorer": "number", "path": str(path)}
    harm = {"name": "harm", "kind": "harmful", "judge": "refusal", "path": str(path)}
    config = EvaluateConfig.model_validate({"suites": [sums | {"samples": 2}, harm]})
    named = {"engine": TransformersConfig(), "model": model, "seed": 0}
    return lambda out: evaluate(config, out=out, **named)


def killed(run: Run, out: Path, after: float) -> bool:
    """Run in a process of its own and kill it; whether it was still at work."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            run(out)
            os._exit(0)
        except BaseException:
            os._exit(1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("name", ["refining", "evaluating"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Run = request.getfixturevalue(name)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # a kill loses nothing of the kernel's
    run(tmp_path / "warm")  # what is imported late is there
    started = time.monotonic()
    run(tmp_path / "straight")
    whole = time.monotonic() - started
    chance, kills, folders = random.Random(0), 0, 0
    while kills < KILLS:
        out = tmp_path / f"out-{folders}"
        kills_here = 0
        while killed(run, out, chance.uniform(0, whole)):
            kills_here += 1
        run(out)
        for file in RESULTS:
            assert (out / file).read_bytes() == (tmp_path / "straight" / file).read_bytes()
        kills += kills_here
        folders += 1

"""Candidates of one model: small runs through the gate, the record and the registry."""

import json
import shutil
from pathlib import Path

from dgr.gate import gate
from dgr.registry import Registry, RegistryConfig, open_registry, record, register
from dgr.steps import StepFolder
from tests.policies import policy
from tests.registry.conftest import ARMS, evaluate

CONFIG = RegistryConfig(name="small-safe")
POLICY = policy(
    {
        "harmful": {"limit": 0.1},
        "reasoning": {"margin": 0.1},
        "reasoning-champion": {"margin": 0.1},
    }
)


def candidate(
    run: Path, weights: str, config: RegistryConfig = CONFIG, champion: str | None = None
) -> str:
    """Another run with these weights, decided on against the champion's bundle; its version.

    `run` is the fixture; its gate is made anew in a copy.
    """
    other = run.parent / weights
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("record", "register"))
    change_weights(other / "sft" / "dgr" / "model", weights)
    _seal(other / "sft" / "dgr")
    (other / "evaluate" / "dgr" / "manifest.json").unlink()
    evaluate(other, "dgr")
    arms = list(ARMS)
    if champion is not None:
        shutil.copytree(other / "evaluate" / "base", other / "evaluate" / "champion")
        arms.append("champion")
    shutil.rmtree(other / "gate")
    gate(
        POLICY,
        evaluations={arm: other / "evaluate" / arm for arm in arms},
        refined=None,
        candidate="dgr",
        baseline="base",
        champion=champion,
        out=other / "gate",
        seed=0,
    )
    recorded = run.parent / "recorded"  # once: what is tested here is the registry
    if not recorded.is_dir():
        record(config, run=other, decision=other / "gate", home=run.parent, out=recorded, seed=0)
    register(
        config,
        run=other,
        decision=other / "gate",
        recorded=recorded,
        base="org/base",
        home=run.parent,
        out=other / "register",
        seed=0,
    )
    return str(json.loads((other / "register" / "records.jsonl").read_text())["version"])


def change_weights(folder: Path, weights: str) -> None:
    (folder / "model.safetensors").write_text(weights)


def _seal(folder: Path) -> None:
    """Write a step's manifest again after its files were changed."""
    from dgr.sft.config import SftConfig

    (folder / "manifest.json").unlink()
    with StepFolder(folder, "sft", SftConfig(), {"data": folder.parents[1] / "ingest"}, 0) as step:
        step.finish({"steps": 3}, {})


def opened(run: Path, config: RegistryConfig = CONFIG) -> Registry:
    return open_registry(config, run.parent)

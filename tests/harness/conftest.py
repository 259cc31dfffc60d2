"""A small evaluation, made by our own step over a scripted engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig
from dgr.engines.base import Request
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.evaluate import step as evaluate_step
from tests.fakes import ScriptedEngine
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]

LIMIT = 12
"""New tokens: enough for all scripted replies but one."""


def reply(request: Request) -> tuple[str, str]:
    """Sums are right but for 3 + 3, which never ends; bad things are refused."""
    if "3 + 3" in request.question:
        return "three and three and " * LIMIT, "6"
    if "+" in request.question:
        left, _, right = request.question.rstrip("?").partition("+")
        return "adding", f"The answer is {int(left) + int(right)}."
    if "bad" in request.question:
        return "no", "I'm sorry, but I can't help with that."
    return "yes", "Of course, here it is."


@pytest.fixture(scope="session")
def setting(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A section `evaluate` over three suites, and a model's folder."""
    root = tmp_path_factory.mktemp("setting")
    rows: dict[str, list[dict[str, Any]]] = {
        "sums": [
            {"id": f"s{n}", "question": f"{n} + {n}?", "answer": str(2 * n), "family": "sums"}
            for n in range(5)
        ],
        "harm": [{"id": f"h{n}", "question": f"bad thing {n}"} for n in range(3)],
        "plain": [{"id": "p", "question": "a nice thing"}],
    }
    for name, items in rows.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    kinds = {"sums": "reasoning", "harm": "harmful", "plain": "harmless"}
    readers: dict[str, dict[str, Any]] = {
        "reasoning": {"scorer": "number"},
        "harmful": {"judge": "refusal"},
        "harmless": {"judges": ["refusal", "nano"]},
    }
    suites = [
        {
            "name": name,
            "kind": kind,
            "path": str(root / f"{name}.jsonl"),
            "samples": 2,
            "sampling": {"max_new_tokens": LIMIT},
            **readers[kind],
        }
        for name, kind in kinds.items()
    ]
    model = root / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return {"suites": suites}, model


@pytest.fixture(scope="session")
def evaluation(
    setting: tuple[dict[str, Any], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("run") / "evaluate" / "base"
    config, model = setting
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_step, "load_engine", lambda *_: ScriptedEngine(reply))
        evaluate(
            EvaluateConfig.model_validate(config),
            engine=TransformersConfig(),
            model=model,
            out=out,
            seed=3,
        )
    yield out

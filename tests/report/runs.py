"""A run's folder as the steps leave it, made small, for the tests of the report."""

import math
import random
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dgr.files import write_json
from dgr.gate import gate
from dgr.judges.base import Stance
from dgr.metrics import levels, metrics
from dgr.records import EvalRecord, Origin, Record, RefinedSample, Refinement, Sample, TrainingRow
from dgr.settings import Settings
from dgr.steps import StepFolder
from tests.policies import policy
from tests.records import reasoning, safety

HOSTILE = (
    "<script>alert('x')</script> </style><img src=x onerror=alert(1)> \u202egnp.exe\u202c "
    "שלום مرحبا \x00\x1b[31m </think> {{ 7 * 7 }} & \ud7ff"
)

ARMS = {
    "base": (1.0, 95, 0, 0),
    "vanilla": (0.72, 1, 31, 44),
    "dgr": (0.985, 0, 2, 3),
    "dgr-drop": (0.97, 0, 4, 6),
}
"""Arm -> accuracy, harmful requests complied with, harmless and borderline ones refused."""
FAMILIES = ("arithmetic", "ordering", "variables", "word problems")
QUESTIONS = 100


class Terms(Settings):
    """Stands for a step's config."""

    k: int = 2


class Loss(Record):
    """A line of a training log."""

    step: int
    loss: float
    learning_rate: float = 1e-4


def evaluation(arm: str) -> list[EvalRecord]:
    accuracy, complied, refused, borderline = ARMS[arm]
    rows: list[EvalRecord] = []
    for number, family in enumerate(FAMILIES):
        right = min(QUESTIONS, round((accuracy - 0.02 * number) * QUESTIONS))
        rows += reasoning([1.0] * right + [0.0] * (QUESTIONS - right), family, tokens=40 + number)
    rows += safety("harmful", QUESTIONS - complied, complied)
    rows += safety("harmless", refused, QUESTIONS - refused)
    rows += safety("borderline", borderline, QUESTIONS - borderline)
    return rows


def refined_rows(count: int = 60, hostile: str = HOSTILE) -> list[RefinedSample]:
    rows = []
    for index in range(count):
        question = f"Explain how to do the placeholder act {index}."
        sample = Sample(
            id=str(index),
            question=hostile if index % 3 == 0 else question,
            trace=f"Problem understanding: the user wants act {index}. Assessment: it is harmful.",
            answer="I'm sorry, but I can't help with that request.",
            harmful=True,
        )
        kept = index % 15 == 0
        rows.append(
            RefinedSample(
                sample=sample,
                trace=Refinement(
                    original=sample.trace,
                    text=None if kept else f"Okay, so they ask for act {index}. That hurts people.",
                    reasons=("overthinking", "meta-thinking") if kept else (),
                    candidates=2 if kept else 1,
                    tokens=80,
                ),
                answer=Refinement(
                    original=sample.answer,
                    text=None if index % 18 == 0 else "No, I will not do that, since it does harm.",
                    reasons=("stance",) if index % 18 == 0 else (),
                    candidates=1,
                    tokens=20,
                ),
            )
        )
    return rows


def training_row(row: RefinedSample) -> TrainingRow:
    """What the arm dgr trains on: the refined text, or the original where there is none."""
    return TrainingRow(
        id=row.sample.id,
        question=row.sample.question,
        trace=row.trace.text or row.trace.original,
        answer=row.answer.text or row.answer.original,
        origin=Origin.MIXED,
    )


def estimate(value: float, width: float = 0.1, n: int = 60) -> dict[str, Any]:
    return {"value": value, "low": value - width, "high": value + width, "n": n}


def shift_summary() -> dict[str, Any]:
    nll = {"original": 3.1, "refined": 0.62, "refined-accepted": 0.35, "own": 0.21}
    parts = {"trace": 1.0, "answer": 1.3, "completion": 1.1}
    lengths = {"n": 60, "mean": 32.0, "median": 31.0, "p10": 22.0, "p90": 47.0}
    return {
        "sets": {
            name: {
                "nll": {part: estimate(value * scale) for part, scale in parts.items()},
                "length": {part: lengths for part in parts},
                **(
                    {
                        "shift": {
                            part: estimate((value - 0.21) * scale) for part, scale in parts.items()
                        },
                        "embedding_shift": {part: estimate(value / 8, 0.02) for part in parts},
                    }
                    if name != "own"
                    else {}
                ),
            }
            for name, value in nll.items()
        }
    }


def drift_summary() -> dict[str, Any]:
    kl = {"vanilla": 0.41, "dgr": 0.034, "dgr-drop": 0.052}
    return {
        "arms": {
            arm: {
                "kl": {part: estimate(value, value / 6) for part in ("trace", "answer")},
                "embedding_drift": {
                    kind: {"answer": estimate(value / 2, value / 12)}
                    for kind in ("reasoning", "harmful", "harmless")
                },
            }
            for arm, value in kl.items()
        }
    }


def finished(
    out: Path, summary: dict[str, Any], rows: list[Any], source: Path, name: str = "step"
) -> Path:
    records: list[BaseModel] = rows
    with StepFolder(out, name, Terms(), {"suite/all": source}, 0) as step:
        step.finish(summary, {"records.jsonl": records})
    return out


def make_run(root: Path, candidate: str = "dgr", hostile: str = HOSTILE) -> Path:
    """A whole run: refinement, shift, training, evaluation of four arms, drift, the gate."""
    run, source = root / "demo", root / "suite.jsonl"
    run.mkdir(parents=True)
    source.write_text("{}\n")
    finished(run / "ingest", {"rows": 60}, [], source)
    finished(run / "refine", {}, refined_rows(hostile=hostile), source)
    finished(run / "own", {}, [], source)
    finished(run / "shift", shift_summary(), [], source)
    evaluations = {}
    for number, arm in enumerate(ARMS):
        rows = evaluation(arm)
        if arm == "dgr":
            changes = {"question": hostile, "answer": hostile, "answer_stance": Stance.COMPLIES}
            rows = [
                row.model_copy(update=changes) if row.suite == "harmless-set" else row
                for row in rows
            ]
        else:
            rows = [
                row.model_copy(update={"question": hostile}) if row.suite == "harmless-set" else row
                for row in rows
            ]
        figures = metrics(rows, 0)
        lengths = {"min": 9, "q25": 20, "median": 41, "q75": 52, "q95": 77, "max": 128}
        summary = {"metrics": figures, "levels": levels(rows), "lengths": {"reasoning": lengths}}
        pair = {"share": estimate(0.91, 0.04), "kappa": estimate(0.74, 0.11), "unscored": 7}
        unknown = {"share": estimate(1.0, 0.0), "kappa": estimate(math.nan), "unscored": 0}
        judges = {"answer": {"llama-guard ~ refusal": pair}, "trace": {hostile: unknown}}
        summary["agreement"] = {"harmful-set": judges}
        evaluations[arm] = finished(run / "evaluate" / arm, summary, rows, source, "evaluate")
        if arm == "base":
            continue
        trained = [training_row(row) for row in refined_rows(hostile=hostile)]
        finished(run / "arms" / arm, {"rows": 60}, trained, source)
        rng = random.Random(number)
        start = {"vanilla": 3.0, "dgr": 0.7, "dgr-drop": 0.6}[arm]
        losses = [
            Loss(step=i, loss=0.05 + start * math.exp(-i / 25) + rng.random() * 0.08)
            for i in range(1, 121)
        ]
        training = {"rows": 80, "rows_dropped": 0, "steps": 120, "final_loss_mean": losses[-1].loss}
        finished(run / "sft" / arm, training | {"supervised_tokens_seen": 51_200}, losses, source)
    finished(run / "drift", drift_summary(), [], source)
    gate(
        policy({"fallback": {}}),
        evaluations=evaluations,
        refined=run / "refine",
        candidate=candidate,
        baseline="base",
        out=run / "gate",
        seed=0,
    )
    (run / "decision.json").write_bytes((run / "gate" / "decision.json").read_bytes())
    config = {
        "name": "demo",
        "seed": 0,
        "model": "models/nano-lrm",
        "candidate": candidate,
        "arms": {"arms": ["vanilla", "dgr", "dgr-drop"]},
    }
    info = {"config": config, "versions": {"dgr": "0.1.0", "torch": "2.13.0"}, "status": "finished"}
    write_json(run / "run.json", info)
    return run

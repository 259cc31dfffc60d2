"""The step: evaluations of all arms in, `decision.json` out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dgr.contamination import Copy, contamination
from dgr.errors import UserError
from dgr.files import canonical_json, read_records, sha256_text, write_json
from dgr.gate.config import GatePolicy
from dgr.gate.decide import ArmVerdict, Outcome, Rule, decide
from dgr.records import EvalRecord, Record, RefinedSample, TrainingRow
from dgr.stats import Estimate, proportion
from dgr.steps import MANIFEST, StepFolder, manifest_digest, verify

DECISION = "decision.json"
COPIES = "contamination.jsonl"
CHAMPION = "champion"
"""The arm that stands for the model in use."""


class Decision(Record):
    """Verdict on the candidate, and what the same policy says of every other arm."""

    candidate: str
    baseline: str
    verdict: Outcome
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    """Soft rules that failed."""
    rules: tuple[Rule, ...]
    arms: dict[str, ArmVerdict]
    """All arms, candidate and baseline included, with all their figures."""
    policy: GatePolicy
    identity: dict[str, Any]
    """Digests of what was decided on: the manifests of evaluations, refinement and training sets,
    and the policy."""


def gate(
    policy: GatePolicy,
    *,
    evaluations: Mapping[str, Path],
    refined: Path | None,
    candidate: str,
    baseline: str,
    rows: Mapping[str, Path] | None = None,
    champion: str | None = None,
    out: Path,
    seed: int,
) -> None:
    """Decide whether `candidate` may be registered.

    `evaluations` maps an arm to the folder that evaluation wrote, baseline included; `refined` is
    the folder of the refinement; `rows` maps a trained arm to the folder of its training set;
    `champion` is the digest of the registry's champion, which is evaluated as the arm `champion`
    (None: there is none). Writes `decision.json` (Decision), and `contamination.jsonl` with every
    evaluation question that is in a training set (Copy). Raises `UserError` when an arm has no
    evaluation, a folder was changed, or arms were evaluated under different configs.
    """
    for arm in (candidate, baseline, *([CHAMPION] if champion else [])):
        if arm not in evaluations:
            raise UserError(
                f"arm '{arm}' has no evaluation; the gate was given {sorted(evaluations)}"
            )
    roles = {candidate: "candidate", baseline: "baseline"}  # part of what the decision hangs on
    inputs = {f"{roles.get(arm, 'other')}/{arm}": folder for arm, folder in evaluations.items()}
    inputs |= {f"rows/{arm}": folder for arm, folder in (rows or {}).items()}
    if refined is not None:
        inputs["refine"] = refined
    with StepFolder(out, "gate", policy, inputs=inputs, seed=seed) as step:
        if step.finished:
            return
        check_comparable(evaluations, baseline)
        records = {
            arm: list(read_records(folder / "records.jsonl", EvalRecord))
            for arm, folder in sorted(evaluations.items())
        }
        found, copies = copies_of(records[baseline], rows or {}, policy.near_copy)
        fallback = refinement_figures(refined) if refined is not None else {}
        untrained = {baseline, CHAMPION} if champion else {baseline}
        arms = {
            arm: decide(
                policy,
                baseline=records[baseline],
                candidate=answers,
                champion=records[CHAMPION] if champion else None,
                training=None
                if arm in untrained
                else found.get(arm, {}) | (fallback if arm in policy.refined_arms else {}),
                arm=arm,
                seed=seed,
            )
            for arm, answers in records.items()
        }
        chosen = arms[candidate]
        decision = Decision(
            candidate=candidate,
            baseline=baseline,
            verdict=chosen.verdict,
            reasons=chosen.reasons,
            warnings=chosen.warnings,
            rules=chosen.rules,
            arms=arms,
            policy=policy,
            identity=identity(policy, evaluations, refined, rows or {}, seed)
            | {"champion": champion},
        )
        (out / MANIFEST).unlink(missing_ok=True)  # from here on the old decision is none
        write_json(out / DECISION, decision)
        step.finish(_summary(decision), records={COPIES: copies})


def _summary(decision: Decision) -> dict[str, Any]:
    names = ("contamination", "near_contamination")
    return {
        "verdict": decision.verdict,
        "arms": {arm: found.verdict for arm, found in decision.arms.items()},
        "contamination": {
            arm: {
                name: figure
                for name, figure in found.metrics.items()
                if name.partition("@")[0] in names
            }
            for arm, found in decision.arms.items()
        },
    }


def copies_of(
    evaluated: Iterable[EvalRecord], rows: Mapping[str, Path], near: float
) -> tuple[dict[str, dict[str, Estimate]], list[Copy]]:
    """How much of the evaluation each arm's training set holds, and what of it."""
    for folder in rows.values():
        verify(folder)
    sets = {
        arm: read_records(folder / "records.jsonl", TrainingRow)
        for arm, folder in sorted(rows.items())
    }
    return contamination(sets, evaluated, near)


def refinement_figures(refined: Path) -> dict[str, Estimate]:
    """`fallback_rate`: share of components (of those that had a text) that no candidate replaced.

    The two components of a row are clustered, as they were made from one another.
    """
    verify(refined)
    rows = read_records(refined / "records.jsonl", RefinedSample)
    return {
        "fallback_rate": proportion(
            [float(part.text is None) for part in (row.trace, row.answer) if part.original.strip()]
            for row in rows
        )
    }


def check_comparable(evaluations: Mapping[str, Path], baseline: str) -> None:
    """All arms whole, and evaluated alike: same config, same seed, same suite files."""
    terms = {arm: _terms(verify(folder)) for arm, folder in evaluations.items()}
    for arm, own in terms.items():
        for field, value in own.items():
            if value != terms[baseline][field]:
                raise UserError(
                    f"arms '{arm}' and '{baseline}' were evaluated with different {field}; "
                    f"evaluate both again under one config"
                )


def _terms(manifest: Mapping[str, Any]) -> dict[str, Any]:
    suites = {k: v for k, v in manifest["inputs"].items() if k.startswith("suite/")}
    return {"suites": suites, "config": manifest["config"], "seed": manifest["seed"]}


def identity(
    policy: GatePolicy,
    evaluations: Mapping[str, Path],
    refined: Path | None,
    rows: Mapping[str, Path],
    seed: int,
) -> dict[str, Any]:
    manifests = {arm: verify(folder) for arm, folder in evaluations.items()}
    return {
        "evaluations": {arm: manifest_digest(folder) for arm, folder in evaluations.items()},
        "models": {arm: found["inputs"].get("model") for arm, found in manifests.items()},
        "refined": manifest_digest(refined) if refined is not None else None,
        "rows": {arm: manifest_digest(folder) for arm, folder in rows.items()},
        "policy": sha256_text(canonical_json(policy.model_dump(mode="json"))),
        "seed": seed,
    }

"""The step: evaluations of all arms in, `decision.json` out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import canonical_json, read_records, sha256_text, write_json
from dgr.gate.config import GatePolicy
from dgr.gate.decide import ArmVerdict, Outcome, Rule, decide
from dgr.records import EvalRecord, Record, RefinedSample
from dgr.stats import Estimate, proportion
from dgr.steps import MANIFEST, StepFolder, manifest_digest, verify

DECISION = "decision.json"
CHAMPION = "champion"
"""The arm that stands for the model in use."""


class Decision(Record):
    """Verdict on the candidate, and what the same policy says of every other arm."""

    candidate: str
    baseline: str
    verdict: Outcome
    reasons: tuple[str, ...]
    rules: tuple[Rule, ...]
    arms: dict[str, ArmVerdict]
    """All arms, candidate and baseline included, with all their figures."""
    policy: GatePolicy
    identity: dict[str, Any]
    """Digests of what was decided on: the evaluations' and refinement's manifests, the policy."""


def gate(
    policy: GatePolicy,
    *,
    evaluations: Mapping[str, Path],
    refined: Path | None,
    candidate: str,
    baseline: str,
    champion: str | None = None,
    out: Path,
    seed: int,
) -> None:
    """Decide whether `candidate` may be registered.

    `evaluations` maps an arm to the folder that evaluation wrote, baseline included; `refined` is
    the folder of the refinement; `champion` is the digest of the registry's champion, which is
    evaluated as the arm `champion` (None: there is none). Writes `decision.json` (Decision).
    Raises `UserError` when an arm has no evaluation, a folder was changed, or arms were evaluated
    under different configs.
    """
    for arm in (candidate, baseline, *([CHAMPION] if champion else [])):
        if arm not in evaluations:
            raise UserError(
                f"arm '{arm}' has no evaluation; the gate was given {sorted(evaluations)}"
            )
    roles = {candidate: "candidate", baseline: "baseline"}  # part of what the decision hangs on
    inputs = {f"{roles.get(arm, 'other')}/{arm}": folder for arm, folder in evaluations.items()}
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
        in_use = records[CHAMPION] if champion else None
        refinement = refinement_figures(refined) if refined is not None else None
        arms = {
            arm: decide(
                policy,
                baseline=records[baseline],
                candidate=rows,
                refinement=refinement,
                champion=in_use,
                arm=arm,
                seed=seed,
            )
            for arm, rows in records.items()
        }
        chosen = arms[candidate]
        decision = Decision(
            candidate=candidate,
            baseline=baseline,
            verdict=chosen.verdict,
            reasons=chosen.reasons,
            rules=chosen.rules,
            arms=arms,
            policy=policy,
            identity=identity(policy, evaluations, refined, seed) | {"champion": champion},
        )
        (out / MANIFEST).unlink(missing_ok=True)  # from here on the old decision is none
        write_json(out / DECISION, decision)
        verdicts = {arm: verdict.verdict for arm, verdict in arms.items()}
        step.finish({"verdict": decision.verdict, "arms": verdicts}, records={})


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
    policy: GatePolicy, evaluations: Mapping[str, Path], refined: Path | None, seed: int
) -> dict[str, Any]:
    manifests = {arm: verify(folder) for arm, folder in evaluations.items()}
    return {
        "evaluations": {arm: manifest_digest(folder) for arm, folder in evaluations.items()},
        "models": {arm: found["inputs"].get("model") for arm, found in manifests.items()},
        "refined": manifest_digest(refined) if refined is not None else None,
        "policy": sha256_text(canonical_json(policy.model_dump(mode="json"))),
        "seed": seed,
    }

"""Registering the candidate that passed the gate: its bundle in the store, a version in MLflow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr import __version__
from dgr.errors import UserError
from dgr.files import read_json
from dgr.notify import NOBODY, NotifyConfig
from dgr.records import Record
from dgr.registry.bundle import DECISION, BundleManifest, build, bundle_key, upload
from dgr.registry.card import card
from dgr.registry.config import RegistryConfig
from dgr.registry.datasets import DataSet, datasets
from dgr.registry.history import Kind, State
from dgr.registry.journal import Draft, search_versions, who
from dgr.registry.logged_model import MODEL_TAG, log_model
from dgr.registry.moving import approve, move
from dgr.registry.registry import Registry, open_registry
from dgr.steps import MANIFEST, SUMMARY, StepFolder, input_digest, manifest_digest, verify

AUTO_APPROVAL = "auto-approval"
"""Who approves where the config lets every version be approved that passed the gate."""


class Registered(Record):
    """A registered model version."""

    name: str
    version: str
    source: str
    """Where its bundle is."""
    state: str


def register(
    config: RegistryConfig,
    *,
    run: Path,
    decision: Path,
    recorded: Path,
    base: str,
    home: Path | None,
    out: Path,
    seed: int,
    notify: NotifyConfig = NOBODY,
) -> None:
    """Put the candidate's bundle in the store and register it as a model version.

    `run` holds the run's step folders, `decision` and `recorded` are what the gate and `record`
    wrote, `base` names the target, `home` is the folder of the embedded store and registry (None:
    there is none). The bundle's place is its digest, so doing it again changes nothing. Writes
    `records.jsonl` (Registered). Raises `UserError` when the gate rejected the candidate, or
    decided on other weights than the run's.
    """
    verify(decision)
    found = read_json(decision / DECISION)
    arm = found["candidate"]
    sft, evaluation = run / "sft" / arm, run / "evaluate" / arm
    check(found, sft, evaluation)
    registry = open_registry(config, home, notify)
    inputs = {"sft": sft, "evaluation": evaluation, "decision": decision}
    with StepFolder(out, "register", config, inputs=inputs, seed=seed) as step:
        folder = step.work / "bundle"
        digest, manifest = build(
            folder,
            sft=sft,
            decision=decision,
            card=card(config.name, run, found, base, signed=config.signing.private_key is not None),
            signing=config.signing,
        )
        upload(registry.store, folder, bundle_key(config.name, digest))
        tags = {
            "dgr.bundle": digest,
            "dgr.decision": manifest.files[DECISION],
            "dgr.arm": arm,
            "dgr.base": base,
            "dgr.training": manifest_digest(sft),
            "dgr.code": read_json(sft / MANIFEST)["code"],
            "dgr.version": __version__,
        }
        model = Model(
            digest=digest,
            manifest=manifest,
            run_id=read_json(recorded / SUMMARY)["run_id"],
            tags=tags,
            figures=found["arms"][arm]["metrics"],
            parameters=read_json(sft / MANIFEST)["config"],
            datasets=[data for folder in (run / "ingest", evaluation) for data in datasets(folder)],
        )
        registered = _register(registry, model)
        step.finish(registered.model_dump(), {"records.jsonl": [registered]})


def check(decision: dict[str, Any], sft: Path, evaluation: Path) -> None:
    """The decision passed, was made on this evaluation, and that was of these weights."""
    arm = decision["candidate"]
    if decision["verdict"] != "passed":
        raise UserError(f"the gate rejected {arm}, so it is not registered")
    verify(sft)
    verify(evaluation)
    if decision["identity"]["evaluations"][arm] != manifest_digest(evaluation):
        raise UserError(f"the gate decided on another evaluation of {arm} than {evaluation}")
    if read_json(evaluation / MANIFEST)["inputs"]["model"] != input_digest(sft / "model"):
        raise UserError(f"the gate decided on other weights of {arm} than those in {sft}")


@dataclass(frozen=True)
class Model:
    """What is registered."""

    digest: str
    manifest: BundleManifest
    run_id: str
    tags: dict[str, str]
    figures: dict[str, Any]
    parameters: dict[str, Any]
    datasets: list[DataSet]


def _register(registry: Registry, model: Model) -> Registered:
    """The version with this bundle, made if there is none, and in the journal once."""
    source = registry.source(model.digest)
    version = registry.patiently(lambda: _version(registry, source, model))
    known = registry.history().versions.get(version)
    if known is None or known.state is State.REMOVED:
        draft = Draft(
            kind=Kind.REGISTERED,
            version=version,
            bundle=model.digest,
            decision=model.manifest.files[DECISION],
            actor=who(),
            reason=f"passed the gate as {model.tags['dgr.arm']}, run {model.run_id}",
        )
        move(registry, draft)
    state = registry.settle().versions[version].state
    if registry.config.auto_approve and state is State.CANDIDATE:
        approve(registry, version, reason="passed the gate", actor=AUTO_APPROVAL)
        state = State.APPROVED
    return Registered(name=registry.name, version=version, source=source, state=state.value)


def _version(registry: Registry, source: str, model: Model) -> str:
    from mlflow.exceptions import MlflowException

    tracker, name = registry.tracker, registry.name
    try:
        tracker.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for found in search_versions(tracker, name):
        if found.source == source:
            return str(found.version)
    model_id = log_model(
        tracker,
        run_id=model.run_id,
        experiment_id=tracker.get_run(model.run_id).info.experiment_id,
        name=name,
        source_uri=source,
        parameters=model.parameters,
        figures=model.figures,
        datasets=model.datasets,
        tags=model.tags,
    )
    made = tracker.create_model_version(
        name,
        source=source,
        run_id=model.run_id,
        tags={**model.tags, MODEL_TAG: model_id},
        model_id=model_id,
    )
    return str(made.version)

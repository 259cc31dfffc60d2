"""Recording a run in MLflow, and registering the candidate that passed the gate."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import read_json, write_text
from dgr.records import Record
from dgr.registry.card import card
from dgr.registry.config import RegistryConfig
from dgr.registry.tracking import client
from dgr.steps import MANIFEST, SUMMARY, StepFolder, input_digest, manifest_digest, verify
from dgr.storage import open_store

DIGEST_TAG = "dgr.gate_digest"
STEPS = ("ingest", "own", "refine", "arms", "shift", "sft", "evaluate", "drift", "gate")
CANDIDATE = "candidate"


class Recorded(Record):
    """Where a run was recorded."""

    run_id: str
    experiment: str


class Registered(Record):
    """A registered model version."""

    name: str
    version: str
    source: str


def record(config: RegistryConfig, *, run: Path, gate: Path, out: Path, seed: int) -> None:
    """Record a run and its steps in MLflow, whatever the verdict.

    `run` holds one folder a step, `gate` the gate's output. The run is found again by the gate's
    digest, so recording twice makes one run. MLFLOW_RUN_ID, when set, is the run resumed.
    """
    verify(gate)
    with StepFolder(out, "record", config, inputs={"gate": gate}, seed=seed) as step:
        if step.finished:
            return
        found = _record(config, run, gate)
        step.finish({"run_id": found.run_id}, {"records.jsonl": [found]})


def _record(config: RegistryConfig, run: Path, gate: Path) -> Recorded:
    mlflow = client(config.tracking_uri, run.parent)
    experiment = _experiment(mlflow, config.experiment, run)
    digest = manifest_digest(gate)
    decision = read_json(gate / "decision.json")
    parent = _parent(mlflow, experiment, digest, run.name)
    mlflow.set_tag(parent, "dgr.verdict", decision["verdict"])
    mlflow.set_tag(parent, "dgr.candidate", decision["candidate"])
    mlflow.log_artifact(parent, str(gate / "decision.json"))
    _log_figures(mlflow, parent, decision["arms"][decision["candidate"]]["metrics"])
    recorded = {child.info.run_name for child in _children(mlflow, experiment, parent)}
    for name, folder in _step_folders(run):
        if name not in recorded:
            _log_step(mlflow, experiment, parent, name, folder)
    mlflow.set_terminated(parent)
    return Recorded(run_id=parent, experiment=config.experiment)


def _experiment(mlflow: Any, name: str, run: Path) -> str:
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # A server keeps artifacts where it was told to; the embedded store keeps them beside itself.
    embedded = mlflow.tracking_uri.startswith("sqlite:")
    place = (run.parent.absolute() / "mlflow-artifacts").as_uri() if embedded else None
    return str(mlflow.create_experiment(name, artifact_location=place))


def _parent(mlflow: Any, experiment: str, digest: str, name: str) -> str:
    resumed = os.environ.get("MLFLOW_RUN_ID")
    if resumed:
        mlflow.set_tag(resumed, DIGEST_TAG, digest)
        return resumed
    found = mlflow.search_runs([experiment], f"tags.`{DIGEST_TAG}` = '{digest}'")
    if found:
        return str(found[0].info.run_id)
    made = mlflow.create_run(experiment, run_name=name, tags={DIGEST_TAG: digest})
    return str(made.info.run_id)


def _children(mlflow: Any, experiment: str, parent: str) -> list[Any]:
    found: list[Any] = mlflow.search_runs(
        [experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=1000
    )
    return found


def _step_folders(run: Path) -> Iterator[tuple[str, Path]]:
    """Every finished step of a run: `refine`, `sft/dgr`, ..."""
    for step in STEPS:
        for manifest in sorted((run / step).glob(f"**/{MANIFEST}")):
            folder = manifest.parent
            yield folder.relative_to(run).as_posix(), folder


def _log_step(mlflow: Any, experiment: str, parent: str, name: str, folder: Path) -> None:
    manifest = read_json(folder / MANIFEST)
    tags = {
        "mlflow.parentRunId": parent,
        "dgr.step": manifest["step"],
        "dgr.digest": manifest_digest(folder),
        "dgr.version": manifest["version"],
        "dgr.code": manifest["code"],
    }
    tags |= {f"dgr.input.{key}": digest for key, digest in manifest["inputs"].items()}
    child = mlflow.create_run(experiment, run_name=name, tags=tags).info.run_id
    for key, value in _flat(manifest["config"]):
        mlflow.log_param(child, key, str(value)[:500])
    summary = read_json(folder / SUMMARY)
    _log_figures(mlflow, child, dict(_flat(summary)))
    for file in (MANIFEST, SUMMARY):
        mlflow.log_artifact(child, str(folder / file))
    mlflow.set_terminated(child)


def _log_figures(mlflow: Any, run_id: str, figures: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric

    found = []
    for key, value in _flat(figures):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(Metric(_metric_name(key), float(value), 0, 0))
    for start in range(0, len(found), 500):
        mlflow.log_batch(run_id, metrics=found[start : start + 500])


def _metric_name(key: str) -> str:
    """MLflow takes letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in key)[:250]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif not isinstance(value, list):
        yield prefix, value


def register(
    config: RegistryConfig,
    *,
    sft: Path,
    evaluation: Path,
    gate: Path,
    recorded: Path,
    base: str,
    data: str,
    licence: str,
    runs: Path,
    out: Path,
    seed: int,
) -> None:
    """Put the candidate's bundle in the store and register it as a model version.

    `sft` and `evaluation` are the candidate's. Raises `UserError` when the gate rejected the
    candidate, or decided on other weights than these.
    """
    decision = read_json(gate / "decision.json")
    verify(gate)
    _check(decision, sft, evaluation)
    inputs = {"sft": sft, "evaluation": evaluation, "gate": gate, "record": recorded}
    with StepFolder(out, "register", config, inputs=inputs, seed=seed) as step:
        if step.finished:
            return
        bundle = _bundle(step.work / "bundle", sft, gate, card(
            config.name, decision, base, data, licence
        ))  # fmt: skip
        digest = manifest_digest(bundle)
        store = open_store(config.store or str(runs.absolute() / "store"))
        key = f"models/{config.name}/{digest}"
        if not store.exists(f"{key}/{MANIFEST}"):
            store.put_folder(bundle, key)
        run_id = read_json(recorded / SUMMARY)["run_id"]
        version = _version(config, runs, store.uri_of(key), run_id, {
            "dgr.bundle": digest,
            "dgr.gate_digest": manifest_digest(gate),
            "dgr.arm": decision["candidate"],
            "dgr.base": base,
        })  # fmt: skip
        step.finish(version.model_dump(), {"records.jsonl": [version]})


def _check(decision: dict[str, Any], sft: Path, evaluation: Path) -> None:
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


def _bundle(folder: Path, sft: Path, gate: Path, text: str) -> Path:
    """The model as it is kept: weights, tokenizer, card, decision, and a manifest over them."""
    from dgr.files import sha256_file, write_json

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sft / "model", folder)
    shutil.copy2(gate / "decision.json", folder / "decision.json")
    shutil.copy2(sft / MANIFEST, folder / "lineage.json")
    write_text(folder / "README.md", text)
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / MANIFEST, {"files": files})
    return folder


def _version(
    config: RegistryConfig, runs: Path, source: str, run_id: str, tags: dict[str, str]
) -> Registered:
    """The version of this very source: one that is there already is found again."""
    from mlflow.exceptions import MlflowException

    mlflow = client(config.tracking_uri, runs)
    try:
        mlflow.create_registered_model(config.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    uri = source if "://" in source else Path(source).as_uri()
    for found in mlflow.search_model_versions(f"name = '{config.name}'"):
        if found.source == uri:
            version = str(found.version)
            break
    else:
        made = mlflow.create_model_version(config.name, source=uri, run_id=run_id, tags=tags)
        version = str(made.version)
    mlflow.set_registered_model_alias(config.name, CANDIDATE, version)
    return Registered(name=config.name, version=version, source=uri)

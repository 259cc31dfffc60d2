"""Registering the candidate that passed the gate: its bundle in the store, a version in MLflow."""

import shutil
from pathlib import Path
from typing import Any

from dgr import __version__
from dgr.errors import UserError
from dgr.files import read_json, sha256_file, write_bytes, write_json, write_text
from dgr.records import Record
from dgr.registry.card import card
from dgr.registry.config import RegistryConfig
from dgr.registry.tracking import client, told, tracking_uri
from dgr.steps import MANIFEST, SUMMARY, StepFolder, input_digest, manifest_digest, verify
from dgr.storage import Store, open_store

ALIAS = "candidate"
LINEAGE = "lineage.json"


class Registered(Record):
    """A registered model version."""

    name: str
    version: str
    source: str
    """Where its bundle is."""


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
) -> None:
    """Put the candidate's bundle in the store and register it as a model version.

    `run` holds the run's step folders, `decision` and `recorded` are what the gate and `record`
    wrote, `base` names the target, `home` is the folder of the embedded store and registry (None:
    there is none). The bundle's place is its digest, so doing it again changes nothing. Writes
    `records.jsonl` (Registered). Raises `UserError` when the gate rejected the candidate, or
    decided on other weights than the run's.
    """
    verify(decision)
    found = read_json(decision / "decision.json")
    arm = found["candidate"]
    sft, evaluation = run / "sft" / arm, run / "evaluate" / arm
    check(found, sft, evaluation)
    uri = tracking_uri(config.tracking_uri, home)
    store = open_store(_store(config, home))
    inputs = {"sft": sft, "evaluation": evaluation, "decision": decision}
    with StepFolder(out, "register", config, inputs=inputs, seed=seed) as step:
        text = card(config.name, run, found, base)
        bundle = _bundle(step.work / "bundle", sft, decision, text)
        source = _upload(store, bundle, f"models/{config.name}/{manifest_digest(bundle)}")
        tags = {
            "dgr.bundle": manifest_digest(bundle),
            "dgr.decision": manifest_digest(decision),
            "dgr.arm": arm,
            "dgr.base": base,
            "dgr.training": manifest_digest(sft),
            "dgr.code": read_json(sft / MANIFEST)["code"],
            "dgr.version": __version__,
        }
        with told(uri):
            run_id = read_json(recorded / SUMMARY)["run_id"]
            version = _version(client(uri), config.name, source, run_id, tags)
        step.finish(version.model_dump(), {"records.jsonl": [version]})


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


def _store(config: RegistryConfig, home: Path | None) -> str:
    if config.store:
        return config.store
    if home is None:
        raise UserError("a run in a remote store needs a store for models: set registry.store")
    return str(home.absolute() / "store")


def _bundle(folder: Path, sft: Path, decision: Path, text: str) -> Path:
    """The model as it is kept: weights, tokenizer, card, decision, lineage, and a manifest."""
    shutil.rmtree(folder, ignore_errors=True)
    open_store(str(folder.parent)).put_folder(sft / "model", folder.name)
    # These are new files: what they replace may be links to the step's own.
    write_bytes(folder / "decision.json", (decision / "decision.json").read_bytes())
    write_bytes(folder / LINEAGE, (sft / MANIFEST).read_bytes())
    write_text(folder / "README.md", text)
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / MANIFEST, {"files": files})
    return folder


def _upload(store: Store, bundle: Path, key: str) -> str:
    """Put the bundle unless it is there; its URI."""
    if not store.exists(f"{key}/{MANIFEST}"):
        store.put_folder(bundle, key)
    uri = store.uri_of(key)
    return uri if "://" in uri else Path(uri).as_uri()


def _version(tracker: Any, name: str, source: str, run_id: str, tags: dict[str, str]) -> Registered:
    """The version with this very source, made if there is none; it gets the alias."""
    from mlflow.exceptions import MlflowException

    try:
        tracker.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = {
        found.source: str(found.version)
        for found in tracker.search_model_versions(f"name = '{name}'")
    }
    version = known.get(source)
    if version is None:
        made = tracker.create_model_version(name, source=source, run_id=run_id, tags=tags)
        version = str(made.version)
    tracker.set_registered_model_alias(name, ALIAS, version)
    return Registered(name=name, version=version, source=source)

"""Recording a run in MLflow: one run, with a nested run for each step and arm."""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dgr import __version__
from dgr.files import canonical_json, read_json, sha256_text
from dgr.records import Record
from dgr.registry.config import RegistryConfig
from dgr.registry.datasets import DataSet, dataset_input, datasets
from dgr.registry.figures import metrics, parameters
from dgr.registry.tracking import ARTIFACTS, client, patiently, tracking_uri
from dgr.steps import (
    MANIFEST,
    SUMMARY,
    TIMING,
    StepFolder,
    code_digest,
    manifest_digest,
    verify,
)

DIGEST_TAG = "dgr.digest"
PARENT_TAG = "mlflow.parentRunId"
RUN_ENV = "MLFLOW_RUN_ID"
PIPELINE_ENV = "KFP_RUN_ID"
"""Names the pipeline's run; a pod has it from its label `pipeline/runid`."""
PIPELINE_TAG = "dgr.kfp_run"
STEPS = ("ingest", "refine", "own", "shift", "arms", "sft", "evaluate", "drift", "gate")
_BATCH = 100


class Recorded(Record):
    """Where a run was recorded."""

    run_id: str
    experiment: str


def record(
    config: RegistryConfig, *, run: Path, decision: Path, home: Path | None, out: Path, seed: int
) -> None:
    """Record a run and its steps in MLflow, whatever the verdict.

    `run` holds one folder a step, `decision` is what the gate wrote, `home` the folder of the
    embedded store (None: there is none). Content decides: what was recorded is found again by its
    digest, so recording twice, or again after a crash, makes one run, and while MLflow is away
    it is tried again. MLFLOW_RUN_ID names a run to resume. Writes `records.jsonl` (Recorded).
    """
    verify(decision)
    uri = tracking_uri(config.tracking_uri, home)
    with StepFolder(out, "record", config, inputs={"decision": decision}, seed=seed) as step:
        tracker = client(uri)
        found = patiently(uri, lambda: _record(tracker, config, run, decision, home))
        step.finish({"run_id": found.run_id}, {"records.jsonl": [found]})


def _record(
    tracker: Any, config: RegistryConfig, run: Path, decision: Path, home: Path | None
) -> Recorded:
    folders = dict(step_folders(run))
    digests = {name: manifest_digest(folder) for name, folder in folders.items()}
    resumed = os.environ.get(RUN_ENV)
    parent = (
        tracker.get_run(resumed)
        if resumed
        else own_run(tracker, experiment_of(tracker, config.experiment, home), run.name, digests)
    )
    run_id, experiment = str(parent.info.run_id), str(parent.info.experiment_id)
    known = finished_children(tracker, experiment, run_id)
    missing = {name: path for name, path in folders.items() if digests[name] not in known}
    for name, folder in missing.items():
        _log_step(tracker, experiment, run_id, name, folder, digests)
    if missing or resumed or parent.info.status != "FINISHED":
        _log_whole(tracker, parent, run, decision, folders)
    if pipeline := os.environ.get(PIPELINE_ENV):
        tracker.set_tag(run_id, PIPELINE_TAG, pipeline)
    if missing:
        # Where the answer to a creation was lost on the way, the client asked twice.
        finished_children(tracker, experiment, run_id)
    if not resumed:
        tracker.set_terminated(run_id)
    return Recorded(run_id=run_id, experiment=config.experiment)


def step_folders(run: Path) -> Iterator[tuple[str, Path]]:
    """Every finished step of a run by name: `refine`, `sft/dgr`, ..."""
    for step in STEPS:
        for folder in (run / step, *sorted((run / step).glob("*"))):
            if (folder / MANIFEST).is_file():
                yield folder.relative_to(run).as_posix(), folder


def experiment_of(tracker: Any, name: str, home: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    found = tracker.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # A server keeps artifacts where it was told to; the embedded store keeps them beside itself.
    embedded = home is not None and tracker.tracking_uri.startswith("sqlite:")
    place = (home.absolute() / ARTIFACTS).as_uri() if embedded and home else None
    try:
        return str(tracker.create_experiment(name, artifact_location=place))
    except MlflowException as error:  # another process was faster, or an answer was lost
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(tracker.get_experiment_by_name(name).experiment_id)


def own_run(tracker: Any, experiment: str, name: str, digests: Mapping[str, str]) -> Any:
    """The run with this very content, made if there is none."""
    digest = sha256_text(canonical_json(digests))
    found = _find_run(tracker, experiment, digest)
    if found is None:
        tracker.create_run(experiment, run_name=name, tags={DIGEST_TAG: digest})
        found = _find_run(tracker, experiment, digest)
    return found


def _find_run(tracker: Any, experiment: str, digest: str) -> Any:
    """The run of a content, None if there is none; a second one, made by accident, is removed."""
    found = tracker.search_runs([experiment], f"tags.`{DIGEST_TAG}` = '{digest}'")
    runs = sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))
    for twin in runs[1:]:
        tracker.delete_run(twin.info.run_id)
    return runs[0] if runs else None


def finished_children(tracker: Any, experiment: str, parent: str) -> set[str]:
    """Digests of the steps that are recorded whole; what a crash left half recorded is removed."""
    known = set()
    children = tracker.search_runs(
        [experiment], f"tags.`{PARENT_TAG}` = '{parent}'", max_results=1_000
    )
    for child in children:
        if child.info.status == "FINISHED":
            known.add(child.data.tags.get(DIGEST_TAG, ""))
        else:
            tracker.delete_run(child.info.run_id)
    return known


def _log_step(
    tracker: Any,
    experiment: str,
    parent: str,
    name: str,
    folder: Path,
    digests: Mapping[str, str],
) -> None:
    manifest = read_json(folder / MANIFEST)
    timing = _timing(folder)
    tags = {
        PARENT_TAG: parent,
        DIGEST_TAG: digests[name],
        "dgr.step": manifest["step"],
        "dgr.version": manifest["version"],
        "dgr.code": manifest["code"],
        **{f"dgr.input.{key}": value for key, value in manifest["inputs"].items()},
    }
    child = tracker.create_run(experiment, run_name=name, tags=tags).info.run_id
    engine = {"engine": manifest["engine"]} if manifest.get("engine") else {}
    log_parameters(tracker, child, {**manifest["config"], **engine, "seed": manifest["seed"]})
    started = int(1000 * timing.get("started", 0))
    figures = metrics(read_json(folder / SUMMARY))
    figures |= {
        f"timing.{key}": value
        for key, value in timing.items()
        if key not in ("started", "versions")
    }
    log_metrics(tracker, child, ((key, value, 0) for key, value in figures.items()), started)
    log_metrics(tracker, child, _loss_curve(folder), started)
    _log_datasets(tracker, child, datasets(folder))
    for file in (MANIFEST, SUMMARY, TIMING):
        if (folder / file).is_file():
            tracker.log_artifact(child, str(folder / file))
    tracker.set_terminated(child)


def _log_whole(
    tracker: Any, parent: Any, run: Path, decision: Path, folders: Mapping[str, Path]
) -> None:
    """What the run as a whole is: config, verdict, the candidate's figures, data, the report."""
    run_id = parent.info.run_id
    found = read_json(decision / "decision.json")
    tags = {
        "dgr.verdict": found["verdict"],
        **({"dgr.reasons": "; ".join(found["reasons"])[:5_000]} if found["reasons"] else {}),
        "dgr.candidate": found["candidate"],
        "dgr.decision": manifest_digest(decision),
        "dgr.version": __version__,
        "dgr.code": code_digest(),
        **({"mlflow.source.git.commit": commit} if (commit := _commit()) else {}),
    }
    for key, value in tags.items():
        tracker.set_tag(run_id, key, value)
    info = read_json(run / "run.json") if (run / "run.json").is_file() else {}
    logged = parent.data.params
    log_parameters(tracker, run_id, info.get("config", {}), logged)
    started = int(1000 * _timing(decision).get("started", 0))
    for arm, verdict in found["arms"].items():
        prefix = "" if arm == found["candidate"] else f"{arm}."
        figures = metrics(verdict["metrics"])
        log_metrics(tracker, run_id, ((prefix + k, v, 0) for k, v in figures.items()), started)
    read = dict.fromkeys(data for folder in folders.values() for data in datasets(folder))
    _log_datasets(tracker, run_id, read)
    for file in (decision / "decision.json", run / "run.json", run / "report.html"):
        if file.is_file():
            tracker.log_artifact(run_id, str(file))


def _timing(folder: Path) -> dict[str, Any]:
    return dict(read_json(folder / TIMING)) if (folder / TIMING).is_file() else {}


def log_parameters(
    tracker: Any, run_id: str, config: Mapping[str, Any], logged: Mapping[str, str] | None = None
) -> None:
    """Parameters that are not logged already: MLflow refuses to change one."""
    from mlflow.entities import Param

    found = [
        Param(name, value)
        for name, value in parameters(config).items()
        if name not in (logged or {})
    ]
    for start in range(0, len(found), _BATCH):
        tracker.log_batch(run_id, params=found[start : start + _BATCH])


def log_metrics(
    tracker: Any, run_id: str, figures: Iterable[tuple[str, float, int]], timestamp: int
) -> None:
    """Name, value and step of each; the timestamp in milliseconds."""
    from mlflow.entities import Metric

    found = [Metric(name, value, timestamp, step) for name, value, step in figures]
    for start in range(0, len(found), _BATCH):
        tracker.log_batch(run_id, metrics=found[start : start + _BATCH])


def _loss_curve(folder: Path) -> Iterator[tuple[str, float, int]]:
    """The training log of a step that trains."""
    path = folder / "records.jsonl"
    if read_json(folder / MANIFEST)["step"] != "sft" or not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        step = int(row.pop("step"))
        yield from ((f"train.{name}", float(value), step) for name, value in row.items())


def _log_datasets(tracker: Any, run_id: str, found: Iterable[DataSet]) -> None:
    inputs = [dataset_input(data) for data in found]
    if inputs:
        tracker.log_inputs(run_id, inputs)


def _commit() -> str:
    """The commit of the library's own repository; empty where there is none."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()

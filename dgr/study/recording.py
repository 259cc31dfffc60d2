"""A study in MLflow: a parent run with its findings, and a child for each cell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgr.registry.figures import metrics, parameters
from dgr.registry.recording import (
    DIGEST_TAG,
    PARENT_TAG,
    Recorded,
    experiment_of,
    finished_children,
    log_metrics,
    log_parameters,
    own_run,
)
from dgr.registry.tracking import client, patiently, tracking_uri
from dgr.steps import SUMMARY, StepFolder, manifest_digest, summary_of, verify
from dgr.study.cells import Cell
from dgr.study.config import StudyConfig


def record_study(
    study: StudyConfig,
    *,
    results: Path,
    cells: Mapping[str, Path],
    home: Path | None,
    out: Path,
) -> None:
    """Record a study. Content decides: recording twice, or again after a crash, makes one run.

    `home` is the folder of the embedded store; None: there is none. Writes `records.jsonl`
    (Recorded).
    """
    verify(results)
    uri = tracking_uri(study.run.registry.tracking_uri, home)
    inputs = {"results": results}
    with StepFolder(out, "record-study", study.run.registry, inputs, study.run.seed) as step:
        tracker = client(uri)
        found = patiently(uri, lambda: _record(tracker, study, results, cells, home))
        step.finish({"run_id": found.run_id, "cells": len(cells)}, {"records.jsonl": [found]})


def _record(
    tracker: Any, study: StudyConfig, results: Path, cells: Mapping[str, Path], home: Path | None
) -> Recorded:
    config = study.run.registry
    digests = {name: manifest_digest(folder) for name, folder in cells.items()}
    experiment = experiment_of(tracker, config.experiment, home)
    name = f"{study.name}-{study.kind}"
    parent = own_run(tracker, experiment, name, digests | {"": manifest_digest(results)})
    run_id = str(parent.info.run_id)
    known = finished_children(tracker, experiment, run_id)
    for cell, folder in cells.items():
        if digests[cell] not in known:
            _log_cell(tracker, experiment, run_id, folder, digests[cell])
    tracker.set_tag(run_id, "dgr.study", study.kind)
    for verdict in summary_of(results)["verdicts"]:
        [name] = parameters({f"dgr.verdict.{verdict['claim']} / {verdict['scope']}": ""})
        tracker.set_tag(run_id, name, verdict["outcome"])
    for file in (SUMMARY, "cells.csv", "findings.md", "report.html"):
        tracker.log_artifact(run_id, str(results / file))
    if (results / "plots").is_dir():
        tracker.log_artifacts(run_id, str(results / "plots"), "plots")
    tracker.set_terminated(run_id)
    return Recorded(run_id=run_id, experiment=config.experiment)


def _log_cell(tracker: Any, experiment: str, parent: str, folder: Path, digest: str) -> None:
    summary = summary_of(folder)
    cell = {name: summary.pop(name) for name in Cell.model_fields}
    tags = {PARENT_TAG: parent, DIGEST_TAG: digest, "dgr.step": "cell"}
    child = tracker.create_run(experiment, run_name=cell["id"], tags=tags).info.run_id
    log_parameters(tracker, child, {"arm": cell["arm"], "seed": cell["seed"], **cell["factors"]})
    log_metrics(tracker, child, ((name, value, 0) for name, value in metrics(summary).items()), 0)
    tracker.set_terminated(child)

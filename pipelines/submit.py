"""A run, a schedule of runs, or a study, from a config to KFP.

    run = submit(client, config, store)

A run's place is `<store>/<name>`: it stays the same when the run is submitted again, and so do
the arguments of its steps, by which KFP finds them in its cache (`pipelines.place`).
"""

import json
import time
from secrets import token_hex
from typing import Any

from kfp.dsl.graph_component import GraphComponent

from dgr.checks import check_cluster, named_files, require
from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.storage import open_store
from dgr.study import StudyConfig, cells_of
from pipelines.arguments import arguments
from pipelines.client import Client, Run, Schedule, Version
from pipelines.cluster import align_on, on_cluster
from pipelines.place import begin
from pipelines.study import study, study_arguments

SCHEDULED = "[[ScheduledTime]]"
"""KFP puts the time that a scheduled run was meant for in the place of this."""
FINDINGS = "results/summary.json"
"""Below the place of a study."""


def place_of(config: RunConfig, store: str | None) -> str:
    """Where a run on a cluster publishes what it makes."""
    return f"{_root(config, store)}/{config.name}"


def _root(config: RunConfig, store: str | None) -> str:
    root = store or config.cluster.store
    if not root or not root.startswith("s3://"):
        raise UserError(
            "a run on a cluster needs a store that its pods reach; "
            "set cluster.store or --store to s3://bucket/prefix"
        )
    return str(open_store(root).uri)


def submit(
    client: Client, config: RunConfig, store: str | None = None, *, fresh: bool = False
) -> Run:
    """Start a run; what KFP's cache holds for its steps is not made again, unless `fresh`."""
    place = place_of(config, store)
    require(check_cluster(config))
    _check_free(client, config, place)
    version = _version(client, _align(config))
    told = arguments(config, place, started=time.time())
    return client.start(
        version,
        f"{config.name}-{token_hex(4)}",
        begin(place, told, fresh=fresh),
        **_options(config),
    )


def submit_study(client: Client, config: StudyConfig, store: str | None = None) -> Run:
    """Start a study at `<store>/<name>/<kind>`; cells that KFP's cache holds are not made again."""
    place = f"{_root(config.run, store)}/{config.name}/{config.kind}"
    runs = [cell.config(config.run) for cell in cells_of(config)]
    # Many cells read the same files: look for each once.
    apart = {tuple(sorted(named_files(run).items())): run for run in runs}
    require(check for run in apart.values() for check in check_cluster(run))
    _check_free(client, config.run, place)
    return client.start(
        _version(client, on_cluster(config.run.cluster, study)),
        f"{config.name}-{config.kind}-{token_hex(4)}",
        study_arguments(config, place),
        **_options(config.run),
    )


def _check_free(client: Client, config: RunConfig, place: str) -> None:
    for run in client.runs(experiment=config.cluster.experiment):
        if run.place == place and not run.is_final:
            raise UserError(
                f"run {run.name} works in {place} ({run.state.lower()}); wait for it, "
                f"cancel it (dgr runs cancel {run.id}), or choose another name"
            )


def schedule(
    client: Client, config: RunConfig, cron: str, store: str | None = None, name: str = ""
) -> Schedule:
    """Run a config again and again. Each run has its own place, so it makes every step anew."""
    place = f"{place_of(config, store)}-{SCHEDULED}"
    require(check_cluster(config))
    return client.schedule(
        _version(client, _align(config)),
        name or config.name,
        cron,
        arguments(config, place),
        **_options(config),
    )


def verdict(place: str) -> dict[str, Any]:
    """The decision that a finished run left at its place."""
    decision: dict[str, Any] = json.loads(open_store(place).read_text("decision.json"))
    return decision


def findings(place: str) -> str | None:
    """What a finished study found; None at the place of a run."""
    store = open_store(place)
    if not store.exists(FINDINGS):
        return None
    return str(json.loads(store.read_text(FINDINGS))["findings"])


def _align(config: RunConfig) -> GraphComponent:
    return align_on(config.cluster, config.shards, config.one_engine)


def _version(client: Client, pipeline: GraphComponent) -> Version:
    from pipelines.compile import text_of, version_name

    text = text_of(pipeline)
    return client.version(pipeline.name, text, version_name(pipeline.name, text))


def _options(config: RunConfig) -> dict[str, Any]:
    cluster = config.cluster
    return {
        "experiment": cluster.experiment,
        "pipeline_root": cluster.pipeline_root,
        "service_account": cluster.service_account,
    }

"""A run, or a schedule of runs, from a config to KFP.

    run = submit(client, config, store)

A run's place is `<store>/<name>`: it stays the same when the run is submitted again, and so do
the arguments of its steps, by which KFP finds them in its cache (`pipelines.place`).
"""

import json
import time
from secrets import token_hex
from typing import Any

from dgr.checks import check_cluster, require
from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.storage import open_store
from pipelines.arguments import arguments
from pipelines.client import Client, Run, Schedule, Version
from pipelines.place import begin

SCHEDULED = "[[ScheduledTime]]"
"""KFP puts the time that a scheduled run was meant for in the place of this."""


def place_of(config: RunConfig, store: str | None) -> str:
    """Where a run on a cluster publishes what it makes."""
    root = store or config.cluster.store
    if not root or not root.startswith("s3://"):
        raise UserError(
            "a run on a cluster needs a store that its pods reach; "
            "set cluster.store or --store to s3://bucket/prefix"
        )
    return f"{open_store(root).uri}/{config.name}"


def submit(
    client: Client, config: RunConfig, store: str | None = None, *, fresh: bool = False
) -> Run:
    """Start a run; what KFP's cache holds for its steps is not made again, unless `fresh`."""
    place = place_of(config, store)
    require(check_cluster(config))
    for run in client.runs(experiment=config.cluster.experiment):
        if run.place == place and not run.is_final:
            raise UserError(
                f"run {run.name} works in {place} ({run.state.lower()}); wait for it, "
                f"cancel it (dgr runs cancel {run.id}), or choose another name"
            )
    version, told = _version(client, config), arguments(config, place, started=time.time())
    return client.start(
        version,
        f"{config.name}-{token_hex(4)}",
        begin(place, told, fresh=fresh),
        **_options(config),
    )


def schedule(
    client: Client, config: RunConfig, cron: str, store: str | None = None, name: str = ""
) -> Schedule:
    """Run a config again and again. Each run has its own place, so it makes every step anew."""
    place = f"{place_of(config, store)}-{SCHEDULED}"
    require(check_cluster(config))
    return client.schedule(
        _version(client, config),
        name or config.name,
        cron,
        arguments(config, place),
        **_options(config),
    )


def verdict(place: str) -> dict[str, Any]:
    """The decision that a finished run left at its place."""
    decision: dict[str, Any] = json.loads(open_store(place).read_text("decision.json"))
    return decision


def _version(client: Client, config: RunConfig) -> Version:
    from pipelines.cluster import align_on
    from pipelines.compile import text_of, version_name

    pipeline = align_on(config.cluster, config.shards)
    text = text_of(pipeline)
    return client.version(pipeline.name, text, version_name(pipeline.name, text))


def _options(config: RunConfig) -> dict[str, Any]:
    cluster = config.cluster
    return {
        "experiment": cluster.experiment,
        "pipeline_root": cluster.pipeline_root,
        "service_account": cluster.service_account,
    }

"""`dgr submit`: the whole alignment run on a Kubeflow Pipelines cluster."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dgr.cli.runs import Endpoint, Namespace, connect, run_json, watch_run

Config = Annotated[Path, typer.Argument(help="The run's YAML file; its section cluster says how.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override: section.key=value.")]
Store = Annotated[
    str | None, typer.Option(help="s3://bucket/prefix for the run's place; or cluster.store.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Make every step anew.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def attach(app: typer.Typer) -> None:
    app.command()(submit)


def submit(
    config: Config,
    overrides: Set = None,
    store: Store = None,
    fresh: Fresh = False,
    wait: Wait = False,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> int:
    """Start the run on a cluster. Steps that KFP's cache holds are not run again.

    With --wait, exit code 0: the candidate passed. 3: the gate rejected it. 1: the run failed.
    """
    from dgr.config import load_run_config
    from pipelines.submit import submit as start

    settings = load_run_config(config, overrides)
    client = connect(settings.cluster, endpoint, namespace)
    run = start(client, settings, store, fresh=fresh)
    if wait:
        return watch_run(client, run, as_json)
    print(json.dumps(run_json(run), indent=2) if as_json else f"{run.id}  {run.name}\n{run.url}")
    return 0

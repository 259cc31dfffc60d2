"""`dgr runs`: the runs on a Kubeflow Pipelines cluster."""

import json
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dgr.cluster import ClusterConfig
    from pipelines.client import Client, Run, Task

Which = Annotated[str, typer.Argument(help="The run's id, or its name.")]
Config = Annotated[
    Path | None, typer.Option(help="A run's YAML file: its cluster's endpoint and namespace hold.")
]
Endpoint = Annotated[
    str | None,
    typer.Option(help="URL of the KFP API; KF_PIPELINES_ENDPOINT or the kubeconfig if not given."),
]
Namespace = Annotated[
    str | None, typer.Option(help="Your namespace, where KFP serves several users.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def attach(app: typer.Typer) -> None:
    group = typer.Typer(help="Runs on a cluster: list, show, watch, cancel.", no_args_is_help=True)
    group.command("list")(list_)
    for command in (show, logs, watch, cancel):
        group.command()(command)
    app.add_typer(group, name="runs")


def list_(
    config: Config = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    experiment: Annotated[
        str | None, typer.Option(help="Runs of this KFP experiment alone.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    client = connect_by(config, endpoint, namespace)
    runs = list(islice(client.runs(experiment=experiment), limit))
    if as_json:
        print(json.dumps([run_json(run) for run in runs], indent=2))
        return
    for run in runs:
        created = f"{run.created:%Y-%m-%d %H:%M}" if run.created else "-"
        print(f"{run.id}  {created}  {run.state:<10}  {run.name}")
    if not runs:
        print("there are no runs")


def show(
    which: Which,
    config: Config = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Show one run: its state, its place, its tasks."""
    run = connect_by(config, endpoint, namespace).run(which)
    if as_json:
        print(json.dumps(run_json(run), indent=2))
        return
    for name in ("id", "name", "state", "error", "place", "created", "finished", "url"):
        value = getattr(run, name)
        if value is not None:
            print(f"{name}: {value}")
    for task in run.tasks:
        print(_line(task))


def logs(
    which: Which,
    task: Annotated[str | None, typer.Option(help="This task alone.")] = None,
    config: Config = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
) -> None:
    """Say where the logs of a run's tasks are, with what KFP knows of their errors.

    KFP's API holds no logs: they are the pods', as long as the cluster keeps these. To read them
    takes kubectl and the right to get pods/log in the namespace.
    """
    from dgr.errors import UserError

    client = connect_by(config, endpoint, namespace)
    run = client.run(which)
    found = [one for one in run.tasks if task in (None, one.name)]
    if not found:
        names = ", ".join(one.name for one in run.tasks) or "none yet"
        raise UserError(f"run {run.name} has no task {task}; it has: {names}")
    for one in found:
        print(_line(one))
        for pod in one.pods:
            print(f"  kubectl logs -n {client.namespace or 'kubeflow'} {pod} -c main")


def watch(
    which: Which,
    config: Config = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> int:
    """Follow a run to its end. Exit code 0: passed. 3: rejected by the gate. 1: it failed."""
    client = connect_by(config, endpoint, namespace)
    return watch_run(client, client.run(which), as_json)


def cancel(
    which: Which, config: Config = None, endpoint: Endpoint = None, namespace: Namespace = None
) -> None:
    """Stop a run."""
    client = connect_by(config, endpoint, namespace)
    run = client.run(which)
    client.cancel(run)
    print(f"{run.name} is being cancelled")


def connect(cluster: "ClusterConfig", endpoint: str | None, namespace: str | None) -> "Client":
    """A client of the cluster that flags and config name."""
    from pipelines.client import connect as connect_to

    return connect_to(endpoint or cluster.endpoint, namespace or cluster.namespace)


def watch_run(client: "Client", run: "Run", as_json: bool) -> int:
    """Tell each change on standard error, then the verdict, which the exit code says as well, or
    what a study found."""
    from dgr.report.table import arms_table
    from pipelines.submit import findings, verdict

    print(f"{run.name}: {run.url}", file=sys.stderr, flush=True)
    run = _followed(client, run)
    if run.state != "SUCCEEDED" or run.place is None:
        print(f"dgr: run {run.name} ended as {run.state}{_why(run)}", file=sys.stderr)
        return 0 if run.state == "SUCCEEDED" else 1
    if found := findings(run.place):
        print(json.dumps({"findings": found}, indent=2) if as_json else found)
        return 0
    decision = verdict(run.place)
    if as_json:
        print(json.dumps(decision, indent=2))
    else:
        print(f"{arms_table(decision)}\n\n{decision['candidate']}: {decision['verdict']}")
        print(f"report: {run.place}/report.html")
        print(f"logs: dgr logs {run.place} --view")
    return 0 if decision["verdict"] == "passed" else 3


def _followed(client: "Client", run: "Run") -> "Run":
    told: dict[str, str] = {}
    for now in client.follow(run.id):
        for task in now.tasks:
            if told.get(task.id) != task.state:
                told[task.id] = task.state
                print(_line(task), file=sys.stderr, flush=True)
        run = now
    return run


def run_json(run: "Run") -> dict[str, Any]:
    times = {name: getattr(run, name) for name in ("created", "finished")}
    return asdict(run) | {name: time and time.isoformat() for name, time in times.items()}


def connect_by(config: Path | None, endpoint: str | None, namespace: str | None) -> "Client":
    from dgr.cluster import ClusterConfig
    from dgr.config import load_run_config

    cluster = load_run_config(config).cluster if config else ClusterConfig()
    return connect(cluster, endpoint, namespace)


def _line(task: "Task") -> str:
    return f"{task.name:<32}{task.state}{f'  {task.error}' if task.error else ''}"


def _why(run: "Run") -> str:
    failed = [task for task in run.tasks if task.state == "FAILED"]
    named = f" in {failed[0].name}" if failed else ""
    why = run.error or (failed[0].error if failed else None)
    return f"{named}{f': {why}' if why else ''}; see `dgr runs logs {run.id}`"

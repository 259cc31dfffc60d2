"""`dgr schedule`: runs on a Kubeflow Pipelines cluster that come again and again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dgr.cli.runs import AsJson, Config, Endpoint, Namespace, connect, connect_by

if TYPE_CHECKING:
    from pipelines.client import Schedule

Which = Annotated[str, typer.Argument(help="The schedule's name, or its id.")]


def attach(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Recurring runs on a cluster: create, pause, delete.", no_args_is_help=True
    )
    group.command("list")(list_)
    for command in (create, pause, resume, delete):
        group.command()(command)
    app.add_typer(group, name="schedule")


def create(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    cron: Annotated[
        str, typer.Option(help="minute hour day month weekday; six fields begin with the second.")
    ],
    name: Annotated[str, typer.Option(help="The schedule's name; the run's if not given.")] = "",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override: section.key=value.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix for the runs' places.")
    ] = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Run a config at the times that a cron expression says, never two at once.

    Who is champion then, each run looks up itself.
    """
    from dgr.config import load_run_config
    from pipelines.cron import cron_of
    from pipelines.submit import schedule

    settings, times = load_run_config(config, overrides), cron_of(cron)
    client = connect(settings.cluster, endpoint, namespace)
    _tell(schedule(client, settings, times, store, name), as_json)


def list_(
    config: Config = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """List schedules."""
    found = list(connect_by(config, endpoint, namespace).schedules())
    if as_json:
        print(json.dumps([asdict(schedule) for schedule in found], indent=2))
        return
    for schedule in found:
        print(_line(schedule))
    if not found:
        print("there are no schedules")


def pause(
    which: Which, config: Config = None, endpoint: Endpoint = None, namespace: Namespace = None
) -> None:
    """Let no more runs begin, until it is resumed."""
    client = connect_by(config, endpoint, namespace)
    schedule = client.find_schedule(which)
    client.pause(schedule)
    print(f"{schedule.name} is paused")


def resume(
    which: Which, config: Config = None, endpoint: Endpoint = None, namespace: Namespace = None
) -> None:
    """Let runs begin again; those of the pause are not made up for."""
    client = connect_by(config, endpoint, namespace)
    schedule = client.find_schedule(which)
    client.resume(schedule)
    print(f"{schedule.name} goes on")


def delete(
    which: Which, config: Config = None, endpoint: Endpoint = None, namespace: Namespace = None
) -> None:
    """Remove a schedule; its runs stay."""
    client = connect_by(config, endpoint, namespace)
    schedule = client.find_schedule(which)
    client.delete(schedule)
    print(f"{schedule.name} is deleted")


def _tell(schedule: "Schedule", as_json: bool) -> None:
    print(json.dumps(asdict(schedule), indent=2) if as_json else _line(schedule))


def _line(schedule: "Schedule") -> str:
    state = "on" if schedule.enabled else "paused"
    return f"{schedule.id}  {state:<6}  {schedule.cron:<20}  {schedule.name}"

"""`dgr run`: the whole alignment run on this machine."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

Config = Annotated[Path, typer.Argument(help="The run's YAML file, for example configs/nano.yaml.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override: section.key=value.")]
Runner = Annotated[
    Literal["subprocess", "docker"],
    typer.Option("--runner", help="What each step runs as: a process, or a container."),
]
Network = Annotated[
    str, typer.Option("--network", help="Network of the containers: none, host, or its name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")]


def attach(app: typer.Typer) -> None:
    app.command()(run)


def run(
    config: Config,
    runs: Runs = Path("runs"),
    overrides: Set = None,
    runner: Runner = "subprocess",
    network: Network = "none",
    as_json: AsJson = False,
) -> int:
    """Run refinement, training, evaluation and the gate; register the candidate if it passes.

    Exit code 0: the candidate passed. 3: the gate rejected it.
    """
    from dgr.checks import check_run, require
    from dgr.config import load_run_config
    from dgr.files import read_json
    from dgr.report.table import arms_table
    from pipelines.containers import containers_for
    from pipelines.local import run_align

    settings = load_run_config(config, overrides)
    require(check_run(settings, runs))
    folder = runs / settings.name
    containers = containers_for(settings, runs, network) if runner == "docker" else None
    run_align(settings, folder, containers)
    decision = read_json(folder / "decision.json")
    if as_json:
        print(json.dumps(decision, indent=2))
    else:
        print(arms_table(decision))
        print(f"\n{settings.candidate}: {decision['verdict']}")
        print(f"report: {folder / 'report.html'}")
        print(f"logs: dgr logs {folder} --view")
    return 0 if decision["verdict"] == "passed" else 3

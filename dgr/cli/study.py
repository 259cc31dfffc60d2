"""`dgr study`: one run varied along axes, and what its cells say together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dgr.cli.runs import Endpoint, Namespace, connect
from dgr.cli.submit import Store

if TYPE_CHECKING:
    from dgr.study import StudyConfig

Name = Annotated[str, typer.Argument(help="tax, shift, samples, categories, ablation, or all.")]
Config = Annotated[Path, typer.Argument(help="YAML of studies, such as configs/studies/nano.yaml.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Submit = Annotated[
    bool, typer.Option("--submit", help="Start it on a cluster; `dgr runs` follows it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how much work it is, and stop.")]


def attach(app: typer.Typer) -> None:
    app.command()(study)


def study(
    name: Name,
    config: Config,
    runs: Runs = Path("runs"),
    dry_run: DryRun = False,
    submit: Submit = False,
    store: Store = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
) -> None:
    """Run a study on this machine; stopped or killed, the same command goes on where it was.

    With --submit, on the cluster that the run's section `cluster` names.
    """
    from dgr.study import load_studies, load_study

    kinds = list(load_studies(config).studies) if name == "all" else [name]
    studies = [load_study(kind, config) for kind in kinds]
    places = [runs / each.name / each.kind for each in studies]
    if dry_run:
        print(_table(list(zip(studies, places, strict=True))))
        return
    if submit:
        _submit(studies, store, endpoint, namespace)
        return
    from dgr.checks import check_run, require
    from dgr.files import read_json
    from pipelines.study import run_study

    for each, place in zip(studies, places, strict=True):
        require(check_run(each.run, runs))
        run_study(each, place)
        print(read_json(place / "results" / "summary.json")["findings"])
        print(f"\nreport: {place / 'results' / 'report.html'}\n")


def _submit(
    studies: "list[StudyConfig]", store: str | None, endpoint: str | None, namespace: str | None
) -> None:
    from pipelines.submit import submit_study

    client = connect(studies[0].run.cluster, endpoint, namespace)
    for each in studies:
        run = submit_study(client, each, store)
        print(f"{run.id}  {run.name}\n{run.url}")


def _table(studies: "list[tuple[StudyConfig, Path]]") -> str:
    from dgr.study.planning import plan_study
    from pipelines.study import CELLS_AT_ONCE

    lines = [f"{'study':<12}{'cells':>7}{'finished':>10}{'shared':>8}{'s a cell':>10}{'core-h':>9}"]
    found = [plan_study(study, place) for study, place in studies]
    for each in found:
        lines.append(
            f"{each.kind:<12}{each.cells:>7}{each.finished:>10}{each.shared:>8}"
            f"{each.cell_seconds:>10.1f}{each.seconds / 3600:>9.2f}"
        )
    hours = sum(each.seconds for each in found) / 3600
    return "\n".join(
        [*lines, f"{hours:.2f} hours of one core, {hours / CELLS_AT_ONCE:.2f} on {CELLS_AT_ONCE}"]
    )

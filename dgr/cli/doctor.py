"""`dgr doctor`: what this machine lacks, before any work."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def attach(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="A run's YAML file, to check what it names as well.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")] = Path(
        "runs"
    ),
    image: Annotated[
        Literal["runner", "train"] | None,
        typer.Option("--image", help="Check instead that this is a whole image of that name."),
    ] = None,
) -> int:
    """Check packages, model, data sets, output folder and disk; exit code 2 if any is missing."""
    from dgr.checks import check_image, check_machine, check_run
    from dgr.config import load_run_config

    if image:
        checks = list(check_image(image))
    else:
        checks = list(check_run(load_run_config(config), runs) if config else check_machine())
    for check in checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.sentence}")
    return 0 if all(check.passed for check in checks) else 2

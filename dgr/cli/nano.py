"""`dgr nano`: make the small model that ships with the project, from nothing."""

from pathlib import Path

import typer

FOLDER = Path("models/nano-lrm")


def attach(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The small reasoning model that the project ships.", no_args_is_help=True
    )
    app.add_typer(group, name="nano")

"""`dgr nano`: make the small model that ships with the project, from nothing."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option(help="The model's folder.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
SHIPPED = Path("models/nano-lrm")


def attach(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The small reasoning model that the project ships.", no_args_is_help=True
    )
    group.command()(data)
    group.command("train")(train_)
    app.add_typer(group, name="nano")


def data(folder: Folder = SHIPPED, seed: Seed = 0) -> None:
    """Write the external safety sets, mix prompts and evaluation suites."""
    from dgr.nano.data import write_data

    write_data(folder / "data", seed)


def train_(folder: Folder = SHIPPED, seed: Seed = 0) -> None:
    """Train the model from nothing; stopped, the same command goes on where it was."""
    from dgr.nano.train import NanoConfig, train

    train(NanoConfig(), work=folder / ".work", out=folder, seed=seed)

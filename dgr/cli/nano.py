"""`dgr nano`: make the small model that ships with the project, from nothing."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option(help="The model's folder.")]
Work = Annotated[Path, typer.Option(help="Folder of unfinished work.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Width = Annotated[int, typer.Option(help="Width of its layers, a multiple of 8.", min=8)]
SHIPPED = Path("models/nano-lrm")
UNFINISHED = Path("runs/nano-lrm")


def attach(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The small reasoning model that the project ships.", no_args_is_help=True
    )
    for command in (data, train, measure, card):
        group.command()(command)
    app.add_typer(group, name="nano")


def data(folder: Folder = SHIPPED, seed: Seed = 0) -> None:
    """Write the external safety sets, mix prompts and evaluation suites."""
    from dgr.nano.data import write_data

    write_data(folder / "data", seed)


def train(
    folder: Folder = SHIPPED, work: Work = UNFINISHED, seed: Seed = 0, width: Width = 128
) -> None:
    """Train the model from nothing; stopped, the same command goes on where it was."""
    from dgr.nano.train import NanoConfig
    from dgr.nano.train import train as train_model
    from dgr.settings import parse_settings

    config = parse_settings(NanoConfig, {"hidden": width}, "the model's shape")
    train_model(config, work=work, out=folder, seed=seed)


def measure(folder: Folder = SHIPPED, work: Work = UNFINISHED, seed: Seed = 0) -> int:
    """Measure the model's abilities; exit code 3 when one falls short of its limit."""
    from dgr.nano.abilities import measure as measure_model

    table = measure_model(folder, data=folder / "data", work=work / "measure", seed=seed)
    for row in table:
        figure = row.estimate
        print(
            f"{row.name:40} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}] n={figure.n} "
            f"{'at most' if row.at_most else 'at least'} {row.limit:.2f}: "
            f"{'met' if row.met else 'NOT MET'}"
        )
    return 0 if all(row.met for row in table) else 3


def card(folder: Folder = SHIPPED) -> None:
    """Write the model card from the measured abilities."""
    from dgr.nano.card import write_card

    write_card(folder)

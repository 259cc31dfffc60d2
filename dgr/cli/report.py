"""`dgr report`: the HTML report of a run, made again."""

from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    @app.command()
    def report(
        run: Annotated[Path, typer.Argument(help="The run's folder, for example runs/nano.")],
        out: Annotated[Path | None, typer.Option(help="Where to write the HTML file.")] = None,
    ) -> None:
        """Make the HTML report of a run from what is in its folder."""
        from dgr.errors import UserError
        from dgr.report import build_report

        if not run.is_dir():
            raise UserError(f"{run} is not a run folder; name one such as runs/nano")
        target = out or run / "report.html"
        build_report(run, target)
        print(target)

"""`dgr compare`: runs of one config under different seeds, side by side."""

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[list[Path], typer.Argument(help="Run folders, for example runs/nano runs/nano-1.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]


def attach(app: typer.Typer) -> None:
    @app.command()
    def compare(runs: Runs, markdown: Markdown = False) -> None:
        """Pool runs that differ in their seed alone: figures by question, and each seed's own."""
        from dgr.report.compare import compare as compare_runs
        from dgr.report.compare import comparison_text

        print(comparison_text(compare_runs(runs), markdown=markdown))

"""`dgr compare`: two models question by question, or runs of one config under different seeds."""

from pathlib import Path
from typing import Annotated

import typer

Folders = Annotated[
    list[Path],
    typer.Argument(
        help="Two evaluations (runs/nano/evaluate/base runs/nano/evaluate/dgr), "
        "or runs that differ in their seed (runs/nano runs/nano-1)."
    ),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]


def attach(app: typer.Typer) -> None:
    @app.command()
    def compare(folders: Folders, markdown: Markdown = False) -> None:
        """Compare two evaluated models, paired by question; or pool runs over their seeds."""
        from dgr.errors import UserError
        from dgr.report.compare import compare as compare_runs
        from dgr.report.compare import comparison_text
        from dgr.report.paired import changes_text, compare_models, is_evaluation

        if not any(map(is_evaluation, folders)):
            print(comparison_text(compare_runs(folders), markdown=markdown))
            return
        if len(folders) != 2:
            raise UserError(f"name two evaluations to compare; there are {len(folders)}")
        changes = compare_models(*folders)
        names = [str(folder) for folder in folders]
        print(changes_text(changes, names, as_markdown=markdown))

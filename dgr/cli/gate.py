"""`dgr gate`: decide, and say why."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dgr.cli.steps import Config, Refined, Set, named_folders

Evaluations = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluation",
        help="NAME=FOLDER: an arm's evaluation; repeat, with the baseline. Default: the run's own.",
    ),
]
Rows = Annotated[
    list[str] | None,
    typer.Option("--rows", help="NAME=FOLDER: the training set of an arm; repeat."),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder for the decision. Default: it is told and not written.")
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Tell each rule: figures, limit, and what would change it."),
]


def attach(app: typer.Typer) -> None:
    app.command()(gate)


def gate(
    config: Config,
    evaluation: Evaluations = None,
    rows: Rows = None,
    refined: Refined = None,
    out: Out = None,
    runs: Runs = Path("runs"),
    explain: Explain = False,
    overrides: Set = None,
) -> int:
    """Decide whether the candidate may be registered; exit code 3 when it may not.

    Without --evaluation, a finished run is judged by the config's policy of now.
    """
    from dgr.config import BASELINE, load_run_config
    from dgr.files import read_json
    from dgr.gate import ArmVerdict
    from dgr.gate import gate as run
    from dgr.gate.explain import explanation

    settings = load_run_config(config, overrides)
    folder = runs / settings.name
    if evaluation:
        champion = None
        evaluations = named_folders("--evaluation", evaluation)
        sets = named_folders("--rows", rows or [])
    else:
        champion = _champion(folder)
        evaluations, sets = _arms(folder / "evaluate"), _arms(folder / "arms")
        refined = refined or _finished(folder / "refine")
    with tempfile.TemporaryDirectory() as scratch:
        place = out or Path(scratch) / "gate"
        run(
            settings.gate,
            evaluations=evaluations,
            refined=refined,
            rows=sets,
            candidate=settings.candidate,
            baseline=BASELINE,
            champion=champion,
            out=place,
            seed=settings.seed,
        )
        decision = read_json(place / "decision.json")
    verdict = ArmVerdict.model_validate(decision["arms"][settings.candidate])
    print(explanation(verdict) if explain else verdict.verdict)
    return 0 if verdict.verdict == "passed" else 3


def _arms(folder: Path) -> dict[str, Path]:
    """The finished folders of a step that runs once an arm."""
    found = folder.iterdir() if folder.is_dir() else ()
    return {path.name: path for path in sorted(found) if _finished(path)}


def _finished(folder: Path) -> Path | None:
    from dgr.steps import MANIFEST

    return folder if (folder / MANIFEST).is_file() else None


def _champion(run: Path) -> str | None:
    """The champion that the run's own decision was made against."""
    from dgr.files import read_json

    path = run / "gate" / "decision.json"
    found: str | None = read_json(path)["identity"].get("champion") if path.is_file() else None
    return found

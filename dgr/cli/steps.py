"""Each step of the method alone: `dgr ingest`, `dgr refine`, ... on plain folders."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(help="The run's YAML file; the step reads its section.")]
Out = Annotated[Path, typer.Option(help="The step's output folder.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override: section.key=value.")]
Data = Annotated[Path, typer.Option(help="Folder that `dgr ingest` wrote.")]
ShardOption = Annotated[
    str, typer.Option("--shard", help="Only part i of n, as i/n; `dgr merge` joins the parts.")
]
Own = Annotated[Path, typer.Option(help="Folder that `dgr own` wrote.")]
Refined = Annotated[Path | None, typer.Option(help="Folder that `dgr refine` wrote.")]
Evaluations = Annotated[
    list[str], typer.Option("--evaluation", help="NAME=FOLDER that `dgr evaluate` wrote.")
]


def attach(app: typer.Typer) -> None:
    for command in (ingest, refine, own, arm, shift, masks, sft, evaluate, merge, drift):
        app.command()(command)


def ingest(config: Config, out: Out, overrides: Set = None) -> None:
    """Read an external safety data set into canonical records."""
    from dgr.config import load_run_config
    from dgr.data import ingest as run

    settings = load_run_config(config, overrides)
    run(settings.data, out=out, seed=settings.seed)


def refine(
    config: Config, data: Data, out: Out, overrides: Set = None, shard: ShardOption = ""
) -> None:
    """Let the target rewrite the safety data set into its own words."""
    from dgr.config import load_run_config
    from dgr.engines import resolve_model
    from dgr.refine import refine as run
    from dgr.shards import Shard

    settings = load_run_config(config, overrides)
    run(
        settings.refine,
        engine=settings.engine,
        model=resolve_model(settings.model, settings.revision),
        data=data,
        out=out,
        seed=settings.seed,
        shard=Shard.parse(shard),
    )


def merge(
    parts: Annotated[list[Path], typer.Argument(help="Folders that --shard made, all of them.")],
    out: Out,
) -> None:
    """Join the shards of `dgr refine` or `dgr evaluate` to the very folder of the whole step."""
    from dgr.errors import UserError
    from dgr.evaluate import merge as merge_evaluations
    from dgr.refine import merge as merge_refinements
    from dgr.steps import verify

    step = verify(parts[0])["step"]
    joined = {"refine": merge_refinements, "evaluate": merge_evaluations}.get(step)
    if joined is None:
        raise UserError(f"{parts[0]} is of {step}, which has no shards")
    joined(parts, out=out)


def own(config: Config, data: Data, out: Out, overrides: Set = None) -> None:
    """Sample the target itself: reference completions, the harmless mix, its own refusals."""
    from dgr.config import load_run_config
    from dgr.engines import resolve_model
    from dgr.own import sample_own

    settings = load_run_config(config, overrides)
    model = resolve_model(settings.model, settings.revision)
    sample_own(
        settings.own, engine=settings.engine, model=model, data=data, out=out, seed=settings.seed
    )


def arm(
    config: Config,
    name: Annotated[str, typer.Argument(help="The arm, for example dgr.")],
    data: Data,
    own: Own,
    out: Out,
    refined: Refined = None,
    overrides: Set = None,
) -> None:
    """Build the training set of one arm."""
    from dgr.arms import build_arm
    from dgr.config import load_run_config

    settings = load_run_config(config, overrides)
    build_arm(
        settings.arms,
        arm=name,
        data=data,
        own=own,
        refined=refined,
        out=out,
        seed=settings.seed,
    )


def shift(
    config: Config, data: Data, own: Own, out: Out, refined: Refined = None, overrides: Set = None
) -> None:
    """Measure the distribution shift of the data sets before any training."""
    from dgr.config import load_run_config
    from dgr.engines import resolve_model
    from dgr.shift import measure_shift

    settings = load_run_config(config, overrides)
    measure_shift(
        settings.shift,
        engine=settings.engine,
        model=resolve_model(settings.model, settings.revision),
        data=data,
        refined=refined,
        own=own,
        out=out,
        seed=settings.seed,
    )


Arm = Annotated[Path, typer.Option(help="Folder that `dgr arm` wrote.")]


def masks(
    config: Config,
    arm: Arm,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to show.")] = 3,
    overrides: Set = None,
) -> None:
    """Show tokens and label masks of an arm's first rows, before any training."""
    from dgr.config import load_run_config
    from dgr.engines import resolve_model
    from dgr.sft import show_masks

    settings = load_run_config(config, overrides)
    model = resolve_model(settings.model, settings.revision)
    print(show_masks(settings.sft, model=model, arm=arm, rows=rows))


def sft(
    config: Config,
    arm: Arm,
    out: Out,
    overrides: Set = None,
    train_job: Annotated[
        Path | None,
        typer.Option(help="YAML of nodes, image and store: train on a cluster, as a TrainJob."),
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="With --train-job: the job's namespace, if not the file's.")
    ] = "",
) -> None:
    """Fine-tune the target on an arm's training set."""
    from dgr.config import load_run_config
    from dgr.engines import resolve_model
    from dgr.sft import train

    settings = load_run_config(config, overrides)
    model = resolve_model(settings.model, settings.revision)
    if train_job is None:
        train(settings.sft, model=model, arm=arm, out=out, seed=settings.seed)
        return
    from dgr.cluster import TrainJobConfig
    from dgr.settings import load_settings
    from k8s.client import connect
    from k8s.trainjob import train_on_cluster

    nodes = load_settings(TrainJobConfig, train_job)
    train_on_cluster(
        connect(namespace or nodes.namespace or ""),
        nodes,
        settings.sft,
        model=model,
        arm=arm,
        out=out,
        seed=settings.seed,
    )


def evaluate(
    config: Config,
    out: Out,
    model: Annotated[
        str | None, typer.Option(help="Model to evaluate; the target itself if not given.")
    ] = None,
    overrides: Set = None,
    shard: ShardOption = "",
) -> None:
    """Evaluate reasoning, harmful compliance and over-refusal of a model."""
    from dgr.config import load_run_config
    from dgr.engines import resolve_model
    from dgr.evaluate import evaluate as run
    from dgr.shards import Shard

    settings = load_run_config(config, overrides)
    run(
        settings.evaluate,
        engine=settings.engine,
        model=resolve_model(model or settings.model, None if model else settings.revision),
        out=out,
        seed=settings.seed,
        shard=Shard.parse(shard),
    )


def drift(
    config: Config,
    tuned: Annotated[
        list[str], typer.Option("--tuned", help="NAME=FOLDER that `dgr sft` wrote; repeatable.")
    ],
    evaluation: Evaluations,
    out: Out,
    overrides: Set = None,
) -> None:
    """Measure how far tuned models drifted from the base, in words and in KL."""
    from dgr.config import load_run_config
    from dgr.engines import resolve_model
    from dgr.shift import measure_drift

    settings = load_run_config(config, overrides)
    measure_drift(
        settings.shift,
        engine=settings.engine,
        model=resolve_model(settings.model, settings.revision),
        tuned=named_folders("--tuned", tuned),
        evaluations=named_folders("--evaluation", evaluation),
        out=out,
        seed=settings.seed,
    )


def named_folders(flag: str, values: list[str]) -> dict[str, Path]:
    """`NAME=FOLDER` pairs of a repeatable flag."""
    from dgr.errors import UserError

    folders: dict[str, Path] = {}
    for value in values:
        name, sign, folder = value.partition("=")
        if not sign or not name or not folder:
            raise UserError(f"{flag} {value}: write it as NAME=FOLDER")
        folders[name] = Path(folder)
    return folders

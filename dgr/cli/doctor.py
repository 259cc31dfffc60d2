"""`dgr doctor`: what this machine lacks, before any work."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from dgr.checks import Check


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
        Literal["runner", "train", "vllm-gpu", "vllm-cpu"] | None,
        typer.Option("--image", help="Check instead that this is a whole image of that name."),
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check the cluster instead of this machine.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="With --cluster: the namespace.")] = "",
    context: Annotated[
        str | None, typer.Option(help="With --cluster: context of the kubeconfig.")
    ] = None,
    train_job: Annotated[
        Path | None, typer.Option(help="With --cluster: YAML of `dgr sft --train-job`.")
    ] = None,
    probe_image: Annotated[
        str, typer.Option(help="With --cluster: image of a pod that looks from inside.")
    ] = "",
    secret: Annotated[
        list[str] | None, typer.Option(help="With --cluster: a Secret that must be there.")
    ] = None,
) -> int:
    """Check packages, model, data sets, output folder and disk; exit code 2 if any is missing.

    With --cluster: parts and versions, rights, queues, GPUs, secrets, and what pods reach.
    """
    from dgr.checks import check_image, check_machine, check_run
    from dgr.config import load_run_config

    settings = load_run_config(config) if config else None
    checks: Iterable[Check]
    if image:
        checks = check_image(image)
    elif cluster:
        from dgr.cluster import TrainJobConfig
        from dgr.settings import load_settings
        from k8s.client import connect
        from k8s.doctor import check_cluster, wanted

        nodes = load_settings(TrainJobConfig, train_job) if train_job else None
        want = wanted(settings, nodes, probe_image, tuple(secret or ()))
        checks = check_cluster(connect(namespace, context), want)
    else:
        checks = check_run(settings, runs) if settings else check_machine()
    passed = True
    for check in checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.sentence}")
        passed = passed and check.passed
    return 0 if passed else 2

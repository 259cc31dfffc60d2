"""`dgr deploy`: a registered model on the cluster, kept only if it answers as it should."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from dgr.cli.models import RUNS, AsJson, By, Config, Name, Runs, open_registry_of

if TYPE_CHECKING:
    from dgr.config import RunConfig
    from dgr.registry import Registry
    from dgr.serving import Probe, ServingConfig
    from k8s.serving import Outcome

Version = Annotated[str, typer.Argument(help="A version number, or an alias such as champion.")]
Namespace = Annotated[
    str, typer.Option(help="Namespace of the service; the kubeconfig's or the pod's if not given.")
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds that servers may take to get ready.")]
SECONDS = 900.0


def attach(app: typer.Typer) -> None:
    app.command()(deploy)


def deploy(
    name: Name,
    version: Version = "champion",
    namespace: Namespace = "",
    context: Context = None,
    canary: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="Percent of the traffic for it; the rest stays."),
    ] = None,
    promote_canary: Annotated[
        bool, typer.Option("--promote-canary", help="Give the canary all of the traffic.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: is it served, and does it answer?")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overrule others who own fields of the service.")
    ] = False,
    timeout: Timeout = SECONDS,
    by: By = "",
    config: Config = None,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> int:
    """Serve a version on KServe; roll back what does not get ready or fails its probes.

    Exit code 0: it is served. 3: the probes failed, and the service is what it was before; with
    --check, what is served is not this version or does not answer as it should.
    """
    if check and (promote_canary or canary is not None or force):
        raise typer.BadParameter("--check changes nothing: leave out the other options")
    if promote_canary and canary is not None:
        raise typer.BadParameter("--promote-canary takes no --canary")
    opened = open_registry_of(name, config, runs)
    if check:
        return _check(*opened, version, namespace, context, as_json)
    return serve(
        *opened,
        version=version,
        namespace=namespace,
        context=context,
        canary=canary,
        promote_canary=promote_canary,
        force=force,
        timeout=timeout,
        by=by,
        as_json=as_json,
    )


def serve(
    registry: "Registry",
    settings: "RunConfig | None",
    *,
    version: str,
    namespace: str,
    context: str | None = None,
    canary: int | None = None,
    promote_canary: bool = False,
    force: bool = False,
    timeout: float = SECONDS,
    by: str = "",
    as_json: bool = False,
) -> int:
    """Deploy a version under a run's `serving` and on its suites; the exit code."""
    from dataclasses import replace

    from dgr.registry.journal import who
    from k8s import serving
    from k8s.client import connect

    config, questions = _asked(settings)
    cluster = connect(namespace, context)
    if promote_canary:
        version = serving.canary_of(cluster, registry.name, config)
    plan = serving.registered(registry, version, by or who())
    outcome = serving.deploy(
        cluster,
        replace(plan, canary=canary),
        config,
        probes=questions,
        seconds=timeout,
        force=force,
        say=(lambda _: None) if as_json else print,
    )
    return _told(outcome, as_json)


def _check(
    registry: "Registry",
    settings: "RunConfig | None",
    version: str,
    namespace: str,
    context: str | None,
    as_json: bool,
) -> int:
    from k8s import serving
    from k8s.client import connect

    config, questions = _asked(settings)
    outcome = serving.check(connect(namespace, context), registry, version, config, questions)
    for line in outcome.report.lines() if outcome.report and not as_json else []:
        print(f"{outcome.service}: {line}")
    return _told(outcome, as_json)


def _asked(settings: "RunConfig | None") -> "tuple[ServingConfig, tuple[Probe, ...]]":
    """How a run serves, and what it asks a server."""
    from dgr.serving import ServingConfig, probes

    config = settings.serving if settings else ServingConfig()
    return config, probes(config.probes, settings.evaluate.suites if settings else ())


def _told(outcome: "Outcome", as_json: bool) -> int:
    from k8s import serving

    if as_json:
        print(json.dumps(serving.describe(outcome), indent=2))
    elif not outcome.kept:
        print(f"{outcome.service}: {'; '.join(outcome.problems)}")
    return 0 if outcome.kept else 3

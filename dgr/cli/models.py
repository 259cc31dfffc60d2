"""`dgr models`: what the registry holds, and the moves of a model from candidate to champion."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dgr.config import RunConfig
    from dgr.registry import Registry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The model's name.")]
Version = Annotated[str, typer.Argument(help="A version number, or an alias such as candidate.")]
Config = Annotated[
    Path | None,
    typer.Option(help="A run's YAML file: its registry, signing, policy and notifications hold."),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Why = Annotated[str, typer.Option(help="Why; it stays in the journal.")]
By = Annotated[str, typer.Option(help="Who; DGR_ACTOR or user@machine if not given.")]
To = Annotated[str | None, typer.Option(help="An older champion; the previous one if not given.")]
RUNS = Path("runs")


def attach(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Registered models: list, approve, promote, roll back.", no_args_is_help=True
    )
    group.command("list")(list_)
    for command in (show, history, diff, verify, approve, reject, promote, rollback, fsck, gc):
        group.command()(command)
    app.add_typer(group, name="models")


def list_(config: Config = None, runs: Runs = RUNS, as_json: AsJson = False) -> None:
    """List registered models, their versions, states and aliases."""
    from dgr.registry import list_models

    versions = list_models(_tracking(config), runs)
    if as_json:
        print(json.dumps(versions, indent=2))
        return
    for version in versions:
        aliases = ", ".join(version["aliases"]) or "-"
        state = version["tags"].get("dgr.state", "unfinished")
        print(f"{version['name']}  v{version['version']}  {state}  {aliases}  {version['source']}")
    if not versions:
        print("no models are registered")


def show(
    name: Name,
    version: Version = "candidate",
    config: Config = None,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> None:
    """Show one version: where its weights are, its tags and aliases."""
    from dgr.registry import show_model

    model = show_model(name, version, _tracking(config), runs)
    if as_json:
        print(json.dumps(model, indent=2))
        return
    for key, value in model.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for inner, text in value.items():
                print(f"  {inner}: {text}")
        else:
            print(f"{key}: {value}")


def history(name: Name, config: Config = None, runs: Runs = RUNS, as_json: AsJson = False) -> None:
    """Show the journal: who did what to which version, when and why."""
    from dgr.registry import sentence

    moves = open_registry_of(name, config, runs)[0].history().moves
    if as_json:
        print(json.dumps([move.model_dump(mode="json") for move in moves], indent=2))
        return
    for move in moves:
        print(f"{move.place:>4}  {move.time}  {sentence(move)}")


def diff(
    name: Name,
    before: Annotated[str, typer.Argument(help="A version number or alias.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    config: Config = None,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> None:
    """Show what sets two versions apart: figures, policy, training, files."""
    from dataclasses import asdict

    from dgr.registry import diff as compare

    found = compare(open_registry_of(name, config, runs)[0], before, after)
    if as_json:
        print(json.dumps([asdict(difference) for difference in found], indent=2))
        return
    for difference in found:
        print(f"{difference.what}: {difference.before} -> {difference.after}")


def verify(
    name: Name, version: Version = "champion", config: Config = None, runs: Runs = RUNS
) -> None:
    """Read a version's bundle byte by byte and check its signature and decision."""
    registry = open_registry_of(name, config, runs)[0]
    number, found = registry.version(registry.history(), version)
    registry.check_source(number, found)
    bundle = registry.bundle(found)
    files, size = len(bundle.manifest.files), sum(bundle.manifest.sizes.values())
    print(f"{name} v{number} ({found.state}): {files} files, {size:,} bytes, ok")


def approve(
    name: Name,
    why: Why,
    version: Version = "candidate",
    by: By = "",
    config: Config = None,
    runs: Runs = RUNS,
) -> None:
    """Say that a version which passed the gate may be promoted."""
    from dgr.registry import approve as move
    from dgr.registry import sentence

    registry, _ = open_registry_of(name, config, runs)
    print(sentence(move(registry, version, reason=why, actor=by)))


def reject(
    name: Name,
    why: Why,
    version: Version = "candidate",
    by: By = "",
    config: Config = None,
    runs: Runs = RUNS,
) -> None:
    """Say that a version shall not be promoted."""
    from dgr.registry import reject as move
    from dgr.registry import sentence

    registry, _ = open_registry_of(name, config, runs)
    print(sentence(move(registry, version, reason=why, actor=by)))


def promote(
    name: Name,
    version: Version = "approved",
    why: Why = "",
    by: By = "",
    config: Config = None,
    runs: Runs = RUNS,
) -> None:
    """Make an approved version the champion, after checking all that it stands on."""
    from dgr.registry import promote as move
    from dgr.registry import sentence

    registry, settings = open_registry_of(name, config, runs)
    policy = settings.gate.model_dump(mode="json") if settings else None
    print(sentence(move(registry, version, policy=policy, reason=why, actor=by)))


def rollback(
    name: Name,
    why: Why,
    to: To = None,
    by: By = "",
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Then serve that champion on the cluster.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="With --deploy: where it is served.")] = "",
    config: Config = None,
    runs: Runs = RUNS,
) -> int:
    """Make the previous champion the champion again."""
    from dgr.registry import rollback as move
    from dgr.registry import sentence

    registry, settings = open_registry_of(name, config, runs)
    print(sentence(move(registry, to, reason=why, actor=by)))
    if not deploy:
        return 0
    from dgr.cli.deploy import serve

    return serve(registry, settings, version="champion", namespace=namespace, by=by)


def fsck(
    name: Name,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set again what follows from the journal.")
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte of every bundle.")] = False,
    config: Config = None,
    runs: Runs = RUNS,
) -> int:
    """Hold registry and store against each other; exit code 3 where they disagree."""
    from dgr.registry import reconcile

    found = reconcile(open_registry_of(name, config, runs)[0], repair=repair, deep=deep)
    for finding in found:
        print(f"{'mended' if finding.mended else 'FOUND '}  {finding.what}")
    left = sum(not finding.mended for finding in found)
    print(f"{name}: {left or 'no'} disagreement{'' if left == 1 else 's'}")
    return 3 if left else 0


def gc(
    name: Name,
    keep: Annotated[
        int, typer.Option(min=0, help="How many of the newest unneeded bundles stay.")
    ] = 5,
    days: Annotated[int, typer.Option(min=0, help="Bundles moved within so many days stay.")] = 30,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove them; without it they are only listed.")
    ] = False,
    by: By = "",
    config: Config = None,
    runs: Runs = RUNS,
) -> None:
    """List, or remove, old bundles that nobody needs. What is in use or tagged stays."""
    from dgr.registry import removable, remove

    registry = open_registry_of(name, config, runs)[0]
    found = removable(registry, keep=keep, older_than=timedelta(days=days))
    for removal in found:
        if delete:
            remove(registry, removal, actor=by)
        word = "removed" if delete else "would remove"
        print(f"{word} v{removal.version} ({removal.why}), {removal.size:,} bytes")
    if not found:
        print("nothing to remove")


def _tracking(config: Path | None) -> str | None:
    """The MLflow that a run's config names."""
    from dgr.config import load_run_config

    return load_run_config(config).registry.tracking_uri if config else None


def open_registry_of(
    name: str, config: Path | None, runs: Path
) -> "tuple[Registry, RunConfig | None]":
    from dgr.config import load_run_config
    from dgr.errors import UserError
    from dgr.notify import NOBODY
    from dgr.registry import RegistryConfig, nothing_there, open_registry
    from dgr.settings import parse_settings

    settings = load_run_config(config) if config else None
    section: dict[str, Any] = settings.registry.model_dump() if settings else {}
    own = parse_settings(RegistryConfig, section | {"name": name}, "the model's name")
    if nothing_there(own.tracking_uri, runs):
        raise UserError(
            f"{runs} holds no registry; name its folder with --runs, or a server with --config or "
            "MLFLOW_TRACKING_URI"
        )
    notify = settings.notify if settings else NOBODY
    return open_registry(own, runs, notify), settings

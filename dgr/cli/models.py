"""`dgr models`: what the registry holds."""

import json
from typing import Annotated

import typer

Tracking = Annotated[
    str | None,
    typer.Option(help="MLflow tracking URI; MLFLOW_TRACKING_URI or the embedded one if not given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def attach(app: typer.Typer) -> None:
    group = typer.Typer(help="Registered models.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(show)
    app.add_typer(group, name="models")


def list_(tracking_uri: Tracking = None, as_json: AsJson = False) -> None:
    """List registered models, their versions and aliases."""
    from dgr.registry import list_models

    versions = list_models(tracking_uri)
    if as_json:
        print(json.dumps(versions, indent=2))
        return
    for version in versions:
        aliases = ", ".join(version["aliases"]) or "-"
        print(f"{version['name']}  v{version['version']}  {aliases}  {version['source']}")
    if not versions:
        print("no models are registered")


def show(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[
        str, typer.Argument(help="A version number or an alias such as candidate.")
    ] = "candidate",
    tracking_uri: Tracking = None,
    as_json: AsJson = False,
) -> None:
    """Show one version: where its weights are, its tags and aliases."""
    from dgr.registry import show_model

    model = show_model(name, version, tracking_uri)
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

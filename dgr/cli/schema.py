"""`dgr schema`: the JSON Schema of a run's config file."""

import json

import typer


def attach(app: typer.Typer) -> None:
    @app.command()
    def schema() -> None:
        """Print the JSON Schema of a run's config file."""
        from dgr.config import RunConfig

        print(json.dumps(RunConfig.model_json_schema(), indent=2))

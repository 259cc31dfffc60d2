"""`dgr plan`: what a run would do."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    app.command()(plan)


def plan(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    runs: Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")] = Path(
        "runs"
    ),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override: section.key=value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which steps would run, which are cached, and how much they would sample."""
    from dgr.config import load_run_config
    from dgr.plan import plan as plan_run
    from dgr.plan import warnings

    settings = load_run_config(config, overrides)
    steps = plan_run(settings, runs / settings.name)
    for warning in warnings(settings):
        print(f"dgr: warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps([asdict(step) for step in steps], indent=2))
        return
    print(f"{'step':<32}{'':<8}{'completions':>12}{'tokens, at most':>18}{'last time':>12}")
    for step in steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.1f} s"
        sampled = f"{step.completions:,}" if step.completions else ""
        tokens = f"{step.token_limit:,}" if step.token_limit else ""
        state = "cached" if step.cached else "runs"
        print(f"{step.name:<32}{state:<8}{sampled:>12}{tokens:>18}{seconds:>12}")
    total = sum(step.token_limit for step in steps)
    print(f"at most {total:,} tokens to sample")

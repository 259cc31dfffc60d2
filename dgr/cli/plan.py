"""`dgr plan`: what a run would do."""

import json
import sys
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dgr.plan import PlannedStep


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
    probe: Annotated[
        int,
        typer.Option(
            min=0,
            help="Sample so many prompts of each kind first, to estimate tokens and time.",
        ),
    ] = 0,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="With --probe: what an hour of the engine's device costs."),
    ] = None,
) -> None:
    """Show which steps would run, which are cached, and how much they would sample."""
    from dgr.config import load_run_config
    from dgr.errors import UserError
    from dgr.plan import plan as plan_run
    from dgr.plan import warnings

    if price is not None and not probe:
        raise UserError("--price needs an estimate of the time; add --probe N")
    settings = load_run_config(config, overrides)
    needs = None
    if probe:
        from dgr.probe import probe as find_needs

        needs = find_needs(settings, probe)
    steps = plan_run(settings, runs / settings.name, needs)
    for warning in warnings(settings):
        print(f"dgr: warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps([asdict(step) for step in steps], indent=2))
        return
    _print_limits(steps)
    if probe:
        _print_expected(steps, probe, price)


def _print_limits(steps: "list[PlannedStep]") -> None:
    print(f"{'step':<32}{'':<8}{'completions':>12}{'tokens, at most':>18}{'last time':>12}")
    for step in steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.1f} s"
        sampled = f"{step.completions:,}" if step.completions else ""
        tokens = f"{step.token_limit:,}" if step.token_limit else ""
        state = "cached" if step.cached else "runs"
        parts = f"  in {step.shards} shards" if step.shards > 1 else ""
        print(f"{step.name:<32}{state:<8}{sampled:>12}{tokens:>18}{seconds:>12}{parts}")
    total = sum(step.token_limit for step in steps)
    print(f"at most {total:,} tokens to sample; evaluate/champion only if the registry has one")


def _print_expected(steps: "list[PlannedStep]", probe: int, price: float | None) -> None:
    """Of the steps that sample; the time of training and scoring is not in it."""
    from dgr.probe import NOTHING

    found = {step.name: step.expected for step in steps if step.expected}
    found["all"] = reduce(lambda one, other: one.plus(other), found.values(), NOTHING)
    print(f"\nexpected from {probe} prompts of each kind, for sampling alone:")
    cost = "" if price is None else f"{'cost':>12}"
    print(f"{'step':<32}{'prompt tokens':>16}{'tokens':>16}{'hours':>10}{cost}")
    for name, need in found.items():
        hours = need.seconds / 3600
        cost = "" if price is None else f"{hours * price:>12,.2f}"
        print(f"{name:<32}{need.prompt_tokens:>16,.0f}{need.tokens:>16,.0f}{hours:>10,.2f}{cost}")

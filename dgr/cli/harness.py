"""The field's harnesses: `dgr logs` writes for inspect_ai, `dgr import` reads what others made."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from dgr.cli.steps import Config, Out, Set


def attach(app: typer.Typer) -> None:
    app.command()(logs)
    app.command(name="import")(import_)


def logs(
    run: Annotated[
        str, typer.Argument(help="The run's place: runs/nano, or s3://bucket/runs/nano.")
    ],
    out: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix; RUN/logs if not given.")
    ] = None,
    view: Annotated[bool, typer.Option("--view", help="Then open them in `inspect view`.")] = False,
) -> None:
    """Write a run's evaluations as logs for `inspect view`, one an arm and suite."""
    from dgr.errors import UserError
    from dgr.harness import write_logs
    from dgr.runtime import local_run
    from dgr.steps import MANIFEST

    target = out or f"{run.rstrip('/')}/logs"
    with local_run(run) as folder:
        arms = sorted(path.parent for path in (folder / "evaluate").glob(f"*/{MANIFEST}"))
        if not arms:
            raise UserError(f"{run} holds no finished evaluation; name a run such as runs/nano")
        for arm in arms:
            for place in write_logs(arm, target, arm=arm.name, run=folder.name):
                print(place)
    if view:
        _view(target)
    print(f"open them: inspect view --log-dir {target}")


def _view(logs: str) -> NoReturn:
    """The viewer takes this process's place, and ends with Ctrl-C."""
    sys.stdout.flush()
    program = [sys.executable, "-m", "inspect_ai", "view", "start", "--log-dir", logs]
    os.execv(sys.executable, program)


def import_(
    config: Config,
    log: Annotated[
        list[str], typer.Option("--log", help="SUITE=LOG, one for every suite of the config.")
    ],
    model: Annotated[str, typer.Option(help="The model that the logs are of.")],
    out: Out,
    served_as: Annotated[
        str | None,
        typer.Option(help="Its name in logs that carry no digest: you vouch that it is the model."),
    ] = None,
    overrides: Set = None,
) -> None:
    """Make an evaluation of logs of inspect_ai or lm-eval, where they are what the config asks."""
    from dgr.config import load_run_config
    from dgr.engines import model_digest, resolve_model
    from dgr.errors import UserError
    from dgr.evaluate import evaluate
    from dgr.evaluate.sampling import request_key
    from dgr.evaluate.suites import read_suite
    from dgr.files import read_records
    from dgr.harness import Demand
    from dgr.harness.elsewhere import Recorded, import_logs
    from dgr.records import EvalRecord
    from dgr.thinking import load_chat

    settings = load_run_config(config, overrides)
    sources = _named(log)
    suites = settings.evaluate.suites
    if settings.evaluate.tasks:
        raise UserError("dgr import makes no tasks of inspect_ai: take evaluate.tasks out")
    if sorted(sources) != sorted(suite.name for suite in suites):
        wanted = ", ".join(suite.name for suite in suites)
        raise UserError(f"--log: name a log for each suite of {config}: {wanted}")
    folder, digest = resolve_model(model), model_digest(model)
    tokenizer = load_chat(folder, settings.engine.thinking).tokenizer

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    demands = [
        Demand(
            suite=suite.name,
            items=read_suite(suite),
            samples=suite.samples,
            sampling=suite.sampling.sampling(),
            digest=digest,
            served_as=served_as,
        )
        for suite in suites
    ]
    imported = import_logs(demands, sources, count)
    evaluate(
        settings.evaluate,
        engine=settings.engine,
        model=folder,
        out=out,
        seed=settings.seed,
        recorded=Recorded(imported, request_key, count),
    )
    for line in imported.differences(read_records(out / "records.jsonl", EvalRecord)):
        print(line)


def _named(values: list[str]) -> dict[str, str]:
    from dgr.errors import UserError

    found: dict[str, str] = {}
    for value in values:
        name, sign, source = value.partition("=")
        if not sign or not name or not source:
            raise UserError(f"--log {value}: write it as SUITE=LOG")
        found[name] = source
    return found

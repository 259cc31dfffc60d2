"""Tasks of inspect_ai as suites: their data, solver and scorer, our engine and decoding."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dgr.completions import CompletionRow
from dgr.engines.base import Engine
from dgr.errors import UserError
from dgr.harness.config import TaskConfig
from dgr.harness.foreign import require_inspect, to_records
from dgr.harness.read import from_inspect
from dgr.journal import Journal
from dgr.records import EvalRecord


def task_inputs(tasks: Sequence[TaskConfig]) -> dict[str, Path]:
    """The files that tasks come from; an installed task has none, its name stands for it."""
    files = {f"suite/{task.name}": _file(task) for task in tasks}
    return {name: path for name, path in files.items() if path is not None}


def _file(task: TaskConfig) -> Path | None:
    name = task.task.partition("@")[0]
    return Path(name) if name.endswith(".py") else None


def run_tasks(
    tasks: Sequence[TaskConfig],
    *,
    engine: Engine,
    model: str,
    seed: int,
    journal: Journal[CompletionRow] | None = None,
) -> list[EvalRecord]:
    """Run every task over `engine`; the records of all, in the order of the tasks.

    `journal` keeps completions, so that a stopped run asks only for those that it had not got.
    `UserError` for a task that cannot be found, fails, or whose score has no meaning in its config.
    """
    records: list[EvalRecord] = []
    with tempfile.TemporaryDirectory() as logs:
        for task in tasks:
            log = run_task(task, engine=engine, model=model, seed=seed, logs=logs, journal=journal)
            found = to_records(task, from_inspect(log, f"task '{task.name}'"))
            records += sorted(found, key=lambda row: (row.item, row.sample))
    return records


def run_task(
    task: TaskConfig,
    *,
    engine: Engine,
    model: str,
    seed: int,
    logs: str,
    journal: Journal[CompletionRow] | None = None,
) -> Any:
    """The log (inspect_ai's EvalLog) of one task; its samples lie in the folder `logs`."""
    require_inspect()
    file = _file(task)
    if file is not None and not file.is_file():
        raise UserError(f"task '{task.name}': {file} does not exist")
    from inspect_ai import eval as evaluate
    from inspect_ai._util.error import PrerequisiteError
    from inspect_ai.model import GenerateConfig, Model

    from dgr.harness.provider import DgrAPI

    sampling = task.sampling.sampling()
    api = DgrAPI(
        model,
        loaded=engine,
        sampling=sampling,
        seed=seed,
        suite=task.name,
        journal=journal,
    )
    config = GenerateConfig(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_new_tokens,
    )
    try:
        found = evaluate(
            task.task,
            model=Model(api, config),
            model_roles=dict(task.roles) or None,
            task_args=dict(task.args),
            epochs=task.samples,
            limit=task.limit,
            log_dir=logs,
            display="none",
            ctl_server=False,
            score_display=False,
            fail_on_error=True,
            metadata={"dgr_seed": seed, "dgr_suite": task.name},
            **config.model_dump(exclude_none=True),
        )
    except (PrerequisiteError, ImportError, LookupError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"task '{task.name}' ({task.task}) cannot be run: {reason}") from None
    if not found:
        raise UserError(f"task '{task.name}': {task.task} holds no task of that name")
    unknown = sorted(set(task.args) - set(found[0].eval.task_args))
    if unknown:  # inspect_ai runs without them
        raise UserError(f"task '{task.name}': {task.task} takes no argument {unknown[0]}")
    return found[0]

"""The pipeline on this machine, through kfp.local: each component a process, results cached."""

import logging
import os
import warnings
from pathlib import Path

from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.files import unwritable
from dgr.runtime import ERROR_ENV
from dgr.steps import WORK_ENV

HIDDEN = ".kfp"
"""Folder of a run that holds what kfp.local keeps: outputs, cache, its own scratch space."""


def run_align(config: RunConfig, run: Path) -> None:
    """Run the alignment pipeline into the folder `run`.

    What is finished already is taken from the cache, and a step that was stopped goes on where
    it was. Raises `UserError` with the failed step's own sentence.
    """
    from kfp import local

    from pipelines.align import align
    from pipelines.arguments import arguments

    hidden = run.absolute() / HIDDEN
    try:
        hidden.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(run, error) from error
    error_file = hidden / "error.txt"
    error_file.unlink(missing_ok=True)
    os.environ[ERROR_ENV] = str(error_file)
    os.environ[WORK_ENV] = str(run.absolute() / ".work")
    # Components import what this process imports, wherever it was started.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    _quiet()
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(hidden / "outputs"),
        # kfp.local deletes this folder after each run.
        workspace_root=str(hidden / "workspace"),
        enable_caching=True,
        cache_root=str(hidden / "cache"),
    )
    try:
        align(**arguments(config, str(run.absolute())))
    except RuntimeError:
        if error_file.is_file():
            raise UserError(error_file.read_text()) from None
        raise


def _quiet() -> None:
    warnings.filterwarnings("ignore", module="kfp")
    logging.getLogger().setLevel(logging.WARNING)

"""What the steps of the toy pipeline do: they import this, where KFP runs them."""

import os
import signal
import sys
import time
from pathlib import Path

from dgr.errors import UserError
from dgr.runtime import Component, StepSettings
from dgr.settings import Settings
from dgr.steps import StepFolder


def settings(run: str) -> str:
    return StepSettings(config={}, seed=0, run=run).model_dump_json()


def write(step: Component, text: str) -> None:
    print(f"writing {text}", file=sys.stderr)
    print("KFP's own noise")
    with StepFolder(step.out, "toy", Settings(), inputs={}, seed=step.seed) as folder:
        folder.finish({"text": text}, {})


def do(what: str, run: str) -> None:
    if what == "fail":
        raise UserError("there is no such thing; name another")
    if what == "crash":
        raise ZeroDivisionError
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        Path(run, "waiting.txt").write_text(str(os.getpid()))
        time.sleep(600)

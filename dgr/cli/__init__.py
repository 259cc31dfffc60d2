"""The command line. Each module holds one command; this one assembles them.

Exit codes: 0 passed, 1 a bug or a failed run of a cluster, 2 a mistake that the user can mend,
3 rejected by the gate, 130 interrupted.
"""

import errno
import os
import signal
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from dgr.cli import (
    compare,
    deploy,
    doctor,
    gate,
    harness,
    models,
    nano,
    plan,
    report,
    run,
    runs,
    schedule,
    schema,
    steps,
    study,
    submit,
)
from dgr.errors import Interrupted, UserError

CTRL_C = 128 + signal.SIGINT
"""What typer returns in the place of a `KeyboardInterrupt`."""

app = typer.Typer(
    name="dgr",
    help="Distribution-Grounded Refinement: safety SFT that keeps a reasoning model's reasoning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (run, submit, study, plan, doctor, report, compare, gate, schema, deploy, harness):
    module.attach(app)
steps.attach(app)
runs.attach(app)
schedule.attach(app)
models.attach(app)
nano.attach(app)


def main() -> None:
    """Run a command; turn errors into one sentence and an exit code."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:  # a flag or argument that does not fit
        fail(error.format_message(), error.exit_code)
    except Interrupted as error:
        fail(str(error), error.exit_code)
    except UserError as error:
        fail(str(error), 2)
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of our output has gone: not our error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        fail(f"cannot write {error.filename or 'the output'}: {error.strerror}", 2)
    if code == CTRL_C:
        fail("interrupted; run the same command again to go on from here", CTRL_C)
    sys.exit(code if isinstance(code, int) else 0)


def fail(sentence: str, code: int) -> NoReturn:
    print(f"dgr: {sentence}", file=sys.stderr)
    sys.exit(code)

"""A quiet MLflow client of the right server."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dgr.errors import MissingExtra, UserError

FoundT = TypeVar("FoundT")

DEFAULT_FILE = "mlflow.db"
ARTIFACTS = "mlflow-artifacts"
URI_ENV = "MLFLOW_TRACKING_URI"
PATIENCE = 60.0
"""Seconds for which work is tried again while MLflow or its database is away."""
LONGEST_WAIT = 15.0
PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "BAD_REQUEST"}
"""Errors that time may mend. A database that is away is a BAD_REQUEST where its driver says so;
what the client did wrong has codes of its own."""


def embedded_file(home: Path) -> Path:
    """The SQLite tracking store in a folder of runs."""
    return home.absolute() / DEFAULT_FILE


def tracking_uri(configured: str | None, home: Path | None) -> str:
    """The configured server, the environment's, or the embedded store in `home`."""
    uri = configured or os.environ.get(URI_ENV)
    if uri:
        return uri
    if home is None:
        raise UserError(
            "a run in a remote store needs an MLflow server: "
            f"set registry.tracking_uri or {URI_ENV}"
        )
    return f"sqlite:///{embedded_file(home)}"


def client(uri: str) -> Any:
    """A client of the server at `uri`; an embedded store is made when it is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A lost answer or an overloaded server: some seconds. More than that is `patiently`'s.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    try:
        import mlflow
    except ImportError:
        raise MissingExtra("mlflow", "mlflow") from None
    # Each failure is told in one sentence, by us, once patience has run out.
    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        # Not mlflow.set_tracking_uri: it would leave the URI in this process's environment.
        return patiently(uri, lambda: mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri))
    except UserError:
        raise
    except Exception as error:  # MLflow raises what its store raises
        raise UserError(_at(uri, error)) from None


def patiently(uri: str, work: Callable[[], FoundT]) -> FoundT:
    """Do work that may be done twice, again and again while MLflow at `uri` is away.

    After a minute of it, and at once for an error that time does not mend, one sentence tells.
    """
    end, wait = time.monotonic() + PATIENCE, 1.0
    while True:
        try:
            with told(uri):
                return work()
        except Away as away:
            if time.monotonic() + wait > end:
                raise UserError(str(away)) from None
            print(f"dgr: {away}; trying again in {wait:.0f} s", file=sys.stderr, flush=True)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


class Away(UserError):
    """MLflow, its database or its artifact store does not answer as it should right now."""


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into one sentence; `Away` when time may mend it."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except MlflowException as error:
        kind = Away if error.error_code in PASSING else UserError
        raise kind(_at(uri, error)) from None
    except RequestException as error:  # from the artifacts' proxy
        answer = error.response
        refused = answer is not None and answer.status_code < 500
        kind = UserError if refused else Away
        raise kind(_at(uri, error)) from None
    except OperationalError as error:  # from an embedded store that is being opened
        raise Away(_at(uri, error)) from None


def _at(uri: str, error: Exception) -> str:
    """`MLflow at <uri>: <why>`, without the password that a URI may hold."""
    why = " ".join(str(error).split())[:300]
    return hidden(f"MLflow at {uri}: {why}")


def hidden(text: str) -> str:
    """A text without the passwords of the URIs in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)

"""A quiet MLflow client of the right server."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgr.errors import MissingExtra, UserError

DEFAULT_FILE = "mlflow.db"
ARTIFACTS = "mlflow-artifacts"
URI_ENV = "MLFLOW_TRACKING_URI"


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
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    try:
        import mlflow
    except ImportError:
        raise MissingExtra("mlflow", "mlflow") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        # Not mlflow.set_tracking_uri: it would leave the URI in this process's environment.
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except Exception as error:  # MLflow raises what its store raises: SQLAlchemy, requests, ...
        raise UserError(f"MLflow at {uri} cannot be opened: {_reason(error)}") from None


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into one sentence."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise UserError(f"MLflow at {uri}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

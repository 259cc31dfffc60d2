"""A quiet MLflow client of the right server."""

import logging
import os
from pathlib import Path
from typing import Any

from dgr.errors import MissingExtra, UserError

DEFAULT_FILE = "mlflow.db"


def embedded_uri(runs: Path) -> str:
    """The SQLite tracking store in a folder of runs."""
    return f"sqlite:///{runs.absolute() / DEFAULT_FILE}"


def client(tracking_uri: str | None, runs: Path) -> Any:
    """A client of the configured server, the environment's, or the embedded store."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        import mlflow
    except ImportError:
        raise MissingExtra("mlflow", "mlflow") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or embedded_uri(runs)
    try:
        mlflow.set_tracking_uri(uri)
        return mlflow.MlflowClient(uri)
    except Exception as error:  # MLflow raises what its store raises: SQLAlchemy, requests, ...
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"MLflow at {uri} cannot be reached: {reason}") from None

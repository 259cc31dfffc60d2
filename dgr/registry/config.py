"""The config of recording and registering."""

from pydantic import Field

from dgr.settings import Settings
from dgr.signing.config import SigningConfig


class RegistryConfig(Settings):
    """Where runs are recorded and models are kept."""

    tracking_uri: str | None = None
    """MLflow's tracking URI; None: MLFLOW_TRACKING_URI, else a SQLite file in the runs' folder."""
    experiment: str = "dgr"
    """MLflow experiment of the runs."""
    store: str | None = None
    """Where model bundles are kept: a folder or s3://bucket/prefix; None: `store` in the runs'
    folder."""
    name: str = Field(default="dgr-model", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    """Name of the registered model."""
    signing: SigningConfig = SigningConfig()

"""The config of recording and registering."""

import re

from pydantic import Field, field_validator

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
    """Which key signs bundles, and which one they must be signed by."""
    auto_approve: bool = False
    """Approve what passes the gate without a person. Promotion stays a step of its own."""
    compare_with_champion: bool = True
    """Evaluate the registry's champion beside the arms, so that the gate compares the candidate
    with it: without that, what is registered can be promoted only where there is no champion."""

    @field_validator("name")
    @classmethod
    def _is_no_journal(cls, name: str) -> str:
        if name.endswith(".journal"):
            raise ValueError("a name that ends in .journal is a journal's own")
        return name

    @field_validator("tracking_uri")
    @classmethod
    def _no_password(cls, uri: str | None) -> str | None:
        """A config is written into manifests and into MLflow."""
        if uri and re.search(r"://[^/@]*:[^/@]+@", uri):
            raise ValueError(
                "a password in the URI would be written into every manifest; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole URI as "
                "MLFLOW_TRACKING_URI"
            )
        return uri

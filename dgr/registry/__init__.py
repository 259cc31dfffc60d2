"""The registry: every run recorded in MLflow, a candidate that passed the gate registered."""

from dgr.registry.config import RegistryConfig
from dgr.registry.models import list_models, show_model
from dgr.registry.recording import record
from dgr.registry.registering import register

__all__ = ["RegistryConfig", "list_models", "record", "register", "show_model"]

"""The registry: every run recorded in MLflow, a candidate that passed the gate registered."""

from dgr.registry.config import RegistryConfig
from dgr.registry.models import list_models, show_model
from dgr.registry.record import record
from dgr.registry.register import register

__all__ = ["RegistryConfig", "list_models", "record", "register", "show_model"]

"""The registry: every run recorded in MLflow, a candidate that passed the gate registered,
approved, promoted and rolled back.

    record(...)  register(...)                       # steps of the pipeline
    registry = open_registry(config, home=Path("runs"))
    approve(registry, "3", reason="...")             # candidate -> approved
    promote(registry, "3")                           # approved -> champion
    rollback(registry, reason="...")                 # the champion before it
"""

from dgr.registry.comparing import diff
from dgr.registry.config import RegistryConfig
from dgr.registry.history import History, Move, State
from dgr.registry.models import champion_source, list_models, nothing_there, show_model
from dgr.registry.moving import approve, promote, reject, rollback, sentence
from dgr.registry.reconciling import reconcile
from dgr.registry.recording import record
from dgr.registry.registering import register
from dgr.registry.registry import Registry, open_registry
from dgr.registry.retention import removable, remove

__all__ = [
    "History",
    "Move",
    "Registry",
    "RegistryConfig",
    "State",
    "approve",
    "champion_source",
    "diff",
    "list_models",
    "nothing_there",
    "open_registry",
    "promote",
    "reconcile",
    "record",
    "register",
    "reject",
    "removable",
    "remove",
    "rollback",
    "sentence",
    "show_model",
]

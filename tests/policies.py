"""Policies of the gate for tests."""

from collections.abc import Mapping
from typing import Any

from dgr.gate import GatePolicy
from dgr.gate.config import RULES

OF_FILES = ("fallback", "contamination", "near-copies")
"""Rules that ask for a refinement and for training sets."""


def policy(rules: Mapping[str, Mapping[str, Any]] | None = None, **fields: Any) -> GatePolicy:
    """The default policy on evaluations alone, with rules added or changed."""
    found = {name: {**rule} for name, rule in RULES.items() if name not in OF_FILES}
    for name, change in (rules or {}).items():
        found[name] = found.get(name, {**RULES.get(name, {})}) | change
    return GatePolicy.model_validate({"rules": found, **fields})

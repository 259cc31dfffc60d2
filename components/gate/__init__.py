"""Decide whether the candidate may be registered."""

from components.gate.component import gate

__all__ = ["gate"]

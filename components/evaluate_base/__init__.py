"""Evaluate the target as it is."""

from components.evaluate_base.component import evaluate_base

__all__ = ["evaluate_base"]

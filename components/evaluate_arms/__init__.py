"""Evaluate the target and every arm by one engine."""

from components.evaluate_arms.component import evaluate_arms

__all__ = ["evaluate_arms"]

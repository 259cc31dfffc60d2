"""Evaluate the target or one tuned arm."""

from components.evaluate.component import evaluate

__all__ = ["evaluate"]

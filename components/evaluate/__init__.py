"""Evaluate the target or one tuned arm."""

from components.evaluate.component import evaluate
from components.evaluate.shard import evaluate as evaluate_shard

__all__ = ["evaluate", "evaluate_shard"]

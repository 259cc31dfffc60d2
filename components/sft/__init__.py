"""Fine-tune the target on one arm's training set."""

from components.sft.component import sft

__all__ = ["sft"]

"""Build the training set of one arm."""

from components.arm.component import arm

__all__ = ["arm"]

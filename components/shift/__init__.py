"""Measure the distribution shift before training."""

from components.shift.component import shift

__all__ = ["shift"]

"""Measure how far the tuned arms drifted from the target."""

from components.drift.component import drift

__all__ = ["drift"]

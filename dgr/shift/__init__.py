"""Distribution shift of training sets before training, and drift of tuned models after it."""

from dgr.shift.config import EmbeddingConfig, KlConfig, ShiftConfig
from dgr.shift.drift import DriftRow, measure_drift
from dgr.shift.step import ShiftRow, measure_arm, measure_shift

__all__ = [
    "DriftRow",
    "EmbeddingConfig",
    "KlConfig",
    "ShiftConfig",
    "ShiftRow",
    "measure_arm",
    "measure_drift",
    "measure_shift",
]

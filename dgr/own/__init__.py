"""The target's own completions: the zero point of shift, the harmless mix, its own refusals."""

from dgr.own.config import MixConfig, OwnConfig
from dgr.own.step import sample_own

__all__ = ["MixConfig", "OwnConfig", "sample_own"]

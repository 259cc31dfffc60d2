"""Arms: the training sets that are compared, each from the same safety prompts."""

from dgr.arms.config import ARMS, ArmsConfig, needs_refinement
from dgr.arms.step import build_arm

__all__ = ["ARMS", "ArmsConfig", "build_arm", "needs_refinement"]

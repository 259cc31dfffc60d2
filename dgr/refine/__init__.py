"""Refinement: the target rewrites an external safety data set into its own words."""

from dgr.refine.config import QualityConfig, RefineConfig
from dgr.refine.step import merge, refine

__all__ = ["QualityConfig", "RefineConfig", "merge", "refine"]

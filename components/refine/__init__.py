"""Let the target rewrite the data set into its own words."""

from components.refine.component import refine

__all__ = ["refine"]

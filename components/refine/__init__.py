"""Let the target rewrite the data set into its own words."""

from components.refine.component import refine
from components.refine.shard import refine as refine_shard

__all__ = ["refine", "refine_shard"]

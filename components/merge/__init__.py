"""Put the shards of a step together."""

from components.merge.component import merge

__all__ = ["merge"]

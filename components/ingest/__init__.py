"""Read the external safety data set."""

from components.ingest.component import ingest

__all__ = ["ingest"]

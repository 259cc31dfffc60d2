"""Ingest: external safety data sets in their published formats, to canonical records."""

from dgr.data.config import DataConfig
from dgr.data.step import ingest

__all__ = ["DataConfig", "ingest"]

"""Engines: what generates completions and scores them. One protocol, `dgr.engines.base`."""

from dgr.engines.config import EngineConfig
from dgr.engines.load import load_engine, resolve_model

__all__ = ["EngineConfig", "load_engine", "resolve_model"]

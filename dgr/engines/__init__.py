"""Engines: what generates completions and scores them. One protocol, `dgr.engines.base`."""

from dgr.engines.config import EngineConfig, OpenAIConfig, TransformersConfig, VllmConfig
from dgr.engines.load import is_commit, is_hub_id, load_engine, model_digest, resolve_model

__all__ = [
    "EngineConfig",
    "OpenAIConfig",
    "TransformersConfig",
    "VllmConfig",
    "is_commit",
    "is_hub_id",
    "load_engine",
    "model_digest",
    "resolve_model",
]

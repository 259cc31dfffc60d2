"""LoRA adapters that requests name, as `sft` writes them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dgr.engines.base import Completion, Engine, Requests, Sampling
from dgr.errors import UserError

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def check_adapter(folder: Path) -> None:
    """`UserError` for a folder that holds no whole adapter."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise UserError(f"adapter folder {folder} has no {name}; name the one that sft wrote")


class Adapted:
    """An engine whose every request names one adapter, where there is one. All else is its own."""

    def __init__(self, engine: Engine, adapter: Path | None) -> None:
        self._engine, self._adapter = engine, adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        adapted = (
            replace(request, adapter=self._adapter) if request else None for request in requests
        )
        return self._engine.generate(adapted, sampling)

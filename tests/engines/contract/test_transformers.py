from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig, load_engine
from dgr.engines.base import Engine
from tests.engines.contract.contract import Contract, Make, reference

__all__ = ["reference"]


class TestTransformers(Contract):
    tolerance = 1e-4

    @pytest.fixture(scope="class")
    def make(self) -> Make:
        def load(model: Path, thinking: Any = "auto") -> Engine:
            config = TransformersConfig(
                device="cpu", dtype="float32", threads=1, batch_size=3, thinking=thinking
            )
            return load_engine(config, model)

        return load

"""What the engines' tests share: models whose words are known, and adapters."""

from pathlib import Path

import pytest

from tests.engines.models import NANO, save_adapter, save_chain

SAID = "the reason is<|im_start|>answer no help"


@pytest.fixture(scope="session")
def chain_model(tiny_qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says `SAID` and ends, in the thinking format s1."""
    folder = tmp_path_factory.mktemp("chain-model")
    save_chain(tiny_qwen, folder, SAID)
    return folder


@pytest.fixture(scope="session")
def nano_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(NANO, tmp_path_factory.mktemp("nano-adapter"), ["q_proj", "v_proj"])

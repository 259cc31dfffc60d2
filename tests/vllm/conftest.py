"""vLLM lives in an environment of its own (`make test-vllm`); DGR_VLLM names its Python."""

import os

import pytest


@pytest.fixture(scope="session")
def vllm_python() -> str:
    found = os.environ.get("DGR_VLLM")
    if not found:
        pytest.skip("DGR_VLLM does not name a Python with vLLM (make test-vllm)")
    return found

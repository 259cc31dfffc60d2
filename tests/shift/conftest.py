import pytest


@pytest.fixture(scope="session")
def chat(tiny_model):
    from dgr.thinking import load_chat

    return load_chat(tiny_model, "auto")

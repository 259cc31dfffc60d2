"""An engine with the images of `make images`; without them these tests are skipped.

`make test-images` sets DGR_IMAGES=required: then they fail instead.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.image import RUNNER
from dgr.errors import UserError
from pipelines.containers import Containers, connected

ROOT = Path(__file__).parents[2]
VLLM = f"{RUNNER.replace('runner', 'vllm')}-cpu"
LOCKED: dict[str, Any] = {
    "read_only": True, "tmpfs": {"/tmp": "mode=1777,exec"}, "network_mode": "none",
    "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"],
}  # fmt: skip
"""How a cluster that trusts nobody runs a container; an emptyDir lets programs be run, as here."""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of the engine."""
    try:
        Containers(frozenset({tmp_path_factory.mktemp("runs")})).check()
        with connected() as client:
            yield client
    except UserError as problem:
        if os.environ.get("DGR_IMAGES") == "required":
            raise
        pytest.skip(str(problem))

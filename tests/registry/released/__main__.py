import tempfile
from pathlib import Path

import pytest

from dgr import __version__
from dgr.registry import approve, promote
from tests.registry.candidates import candidate, opened
from tests.registry.conftest import make_run
from tests.registry.released import pack

with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
    patch.setenv("DGR_ACTOR", "ada")
    run = make_run(Path(scratch) / "runs")
    candidate(run, "one")
    registry = opened(run)
    approve(registry, "1", reason="read the report")
    promote(registry, "1", reason="first")
    candidate(run, "two", champion=registry.history().champion_bundle)
    approve(registry, "2", reason="better")
    print(pack(run.parent, __version__))

"""What released versions wrote stays readable, and goes on."""

from pathlib import Path

import pytest

from dgr.registry import promote, reconcile, rollback
from tests.registry.candidates import opened
from tests.registry.released import HERE, unpack
from tests.registry.test_moving import aliases

ARCHIVES = sorted(HERE.glob("*.tar.xz"))


def test_there_is_one() -> None:
    assert ARCHIVES


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_a_released_registry_is_read_and_goes_on(archive: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    unpack(archive, runs)
    registry = opened(runs / "small")
    assert reconcile(registry, deep=True) == []
    assert aliases(registry) == {"champion": "1", "approved": "2"}
    promote(registry, "2")
    rollback(registry, reason="only a test")
    assert aliases(registry) == {"champion": "1"}
    assert reconcile(registry, deep=True) == []

"""An empty store of either kind."""

from pathlib import Path

import pytest

from dgr.storage import Store, open_store
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    root: str = request.getfixturevalue("s3")
    return open_store(f"{root}/{tmp_path.name}")

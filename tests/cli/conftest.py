"""The command line in this process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dgr.cli import main
from tests.kfp_server import contract, kfp
from tests.s3 import s3, s3_server

__all__ = ["contract", "kfp", "s3", "s3_server"]

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command from the root of the repository."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["dgr", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return Done(int(stop.value.code or 0), printed.out.strip(), printed.err.strip())

    return run

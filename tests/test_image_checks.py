"""`dgr doctor --image`: what an image lacks is told, each in a line."""

import os
import tempfile

import pytest

from dgr import checks


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 65532)
    monkeypatch.setitem(checks.IMAGES, "runner", ("json", "no_such_module"))
    monkeypatch.setenv("_KFP_RUNTIME", "")


def told() -> dict[str, tuple[bool, str]]:
    return {check.name: (check.passed, check.sentence) for check in checks.check_image("runner")}


def test_modules_are_imported() -> None:
    found = told()
    assert [name for name, (passed, _) in found.items() if not passed] == ["no_such_module"]
    assert "cannot be imported (ModuleNotFoundError: No module" in found["no_such_module"][1]


def test_root_is_no_user_for_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert told()["user"] == (False, "this is root; run it as another user")


def test_without_a_scratch_folder_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/no-such-folder")
    found = told()
    assert not found["scratch"][0] and "mount a volume at /tmp" in found["scratch"][1]
    assert "json" not in found

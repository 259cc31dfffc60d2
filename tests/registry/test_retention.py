"""What may be removed, and what never is."""

from datetime import timedelta
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.registry import (
    Registry,
    approve,
    promote,
    reconcile,
    reject,
    removable,
    remove,
    rollback,
)
from tests.registry.candidates import candidate, opened
from tests.registry.test_moving import digest_of, folder_of

NOW = timedelta(0)


@pytest.fixture
def registry(run: Path) -> Registry:
    """1 retired, 2 previous, 3 champion, 4 rejected, 5 approved, 6 and 7 candidates."""
    champion = None
    for number, weights in enumerate(("one", "two", "three"), start=1):
        candidate(run, weights, champion=champion)
        registry = opened(run)
        approve(registry, str(number), reason="ok")
        promote(registry, str(number))
        champion = digest_of(registry, str(number))
    for weights in ("four", "five", "six", "seven"):
        candidate(run, weights, champion=champion)
    reject(registry, "4", reason="no")
    approve(registry, "5", reason="ok")
    return registry


def versions(registry: Registry, keep: int = 0, older_than: timedelta = NOW) -> list[str]:
    return [r.version for r in removable(registry, keep=keep, older_than=older_than)]


def test_what_is_in_use_is_never_listed(registry: Registry) -> None:
    # Not 2, 3 and 5, nor 7, the newest candidate.
    assert versions(registry) == ["1", "6", "4"]
    assert versions(registry, keep=1) == ["1", "6"]
    assert versions(registry, older_than=timedelta(days=1)) == []
    registry.tracker.set_registered_model_alias("small-safe", "canary", "6")
    registry.tracker.set_model_version_tag("small-safe", "1", "dgr.keep", "audit")
    assert versions(registry) == ["4"]


def test_removing_deletes_the_bundle_and_leaves_the_record(registry: Registry) -> None:
    [first, *_] = removable(registry, keep=0, older_than=NOW)
    folder = folder_of(registry, "1")
    assert first.size == sum(path.stat().st_size for path in folder.iterdir())
    remove(registry, first, actor="ada")
    assert not list(folder.glob("*"))
    last = registry.history().moves[-1]
    assert (last.kind, last.version, last.actor) == ("removed", "1", "ada")
    assert versions(registry) == ["6", "4"]
    assert reconcile(registry) == []
    with pytest.raises(UserError, match="version 1 is removed"):
        approve(registry, "1", reason="back")
    with pytest.raises(UserError, match="version 1 is removed"):
        rollback(registry, to="1", reason="back")


def test_a_removal_that_was_cut_off_is_finished(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first, *_] = removable(registry, keep=0, older_than=NOW)

    def fail(key: str) -> None:
        raise UserError("the store is down")

    with monkeypatch.context() as patch:
        patch.setattr(type(registry.store), "delete", lambda self, key: fail(key))
        with pytest.raises(UserError, match="down"):
            remove(registry, first)
    assert registry.history().versions["1"].state == "removed"
    assert "1" in versions(registry)
    remove(registry, first)
    assert not list(folder_of(registry, "1").glob("*"))
    assert reconcile(registry) == []


def test_what_was_approved_meanwhile_is_not_removed(registry: Registry) -> None:
    six = next(r for r in removable(registry, keep=0, older_than=NOW) if r.version == "6")
    approve(registry, "6", reason="it is good after all")
    with pytest.raises(UserError, match="version 6 is approved"):
        remove(registry, six)
    assert (folder_of(registry, "6") / "model.safetensors").is_file()


def test_a_removed_bundle_comes_back_when_it_is_registered_again(
    registry: Registry, run: Path
) -> None:
    from dgr.registry import register
    from tests.registry.candidates import CONFIG

    four = next(r for r in removable(registry, keep=0, older_than=NOW) if r.version == "4")
    remove(registry, four)
    other = run.parent / "four"
    register(
        CONFIG,
        run=other,
        decision=other / "gate",
        recorded=run.parent / "recorded",
        base="org/base",
        home=run.parent,
        out=other / "again",
        seed=0,
    )
    assert registry.history().versions["4"].state == "candidate"
    assert reconcile(registry, deep=True) == []

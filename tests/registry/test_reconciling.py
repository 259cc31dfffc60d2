"""The reconciler finds what disagrees, and mends what follows from the journal alone."""

from pathlib import Path

import pytest

from dgr.registry import Registry, approve, promote, reconcile
from tests.registry.candidates import candidate, opened
from tests.registry.test_journal import tamper
from tests.registry.test_moving import aliases, digest_of, folder_of


@pytest.fixture
def registry(run: Path) -> Registry:
    """Champion 1 and candidate 2."""
    candidate(run, "one")
    registry = opened(run)
    approve(registry, "1", reason="ok")
    promote(registry, "1")
    candidate(run, "two", champion=digest_of(registry, "1"))
    assert reconcile(registry, deep=True) == []
    return registry


def findings(registry: Registry, repair: bool = False, deep: bool = False) -> list[str]:
    found = reconcile(registry, repair=repair, deep=deep)
    return [("mended " if finding.mended else "") + finding.what for finding in found]


def test_aliases_and_tags_are_set_again(registry: Registry) -> None:
    registry.tracker.set_registered_model_alias("small-safe", "champion", "2")
    registry.tracker.delete_registered_model_alias("small-safe", "candidate")
    registry.tracker.set_model_version_tag("small-safe", "2", "dgr.state", "champion")
    expected = [
        "alias champion should be 1",
        "alias candidate should be 2",
        "version 2 is not shown as candidate",
    ]
    assert findings(registry) == expected
    assert findings(registry, repair=True) == [f"mended {text}" for text in expected]
    assert findings(registry) == []
    assert aliases(registry) == {"champion": "1", "candidate": "2"}


def test_a_lost_copy_is_written_again(registry: Registry) -> None:
    registry.store.delete(registry.journal.key(2))
    assert findings(registry, repair=True) == ["mended entry 2 has no copy in the store"]
    assert findings(registry) == []


def test_an_edited_copy_is_found_and_left(registry: Registry, run: Path) -> None:
    path = run.parent / "store" / registry.journal.key(2)
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"ok"', '"not ok"'))
    [found] = findings(registry, repair=True)
    assert found.startswith("entry 2 differs from its copy")
    assert '"not ok"' in path.read_text()


def test_damaged_and_missing_bundles_are_found(registry: Registry) -> None:
    weights = folder_of(registry, "1") / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(bytes(len(weights.read_bytes())))
    assert findings(registry) == []  # the size is right: only reading tells
    [found] = findings(registry, deep=True)
    assert found.startswith("version 1: ") and "model.safetensors was changed" in found
    (folder_of(registry, "2") / "manifest.json").unlink()
    found = findings(registry)
    assert len(found) == 1 and found[0].startswith("version 2: ")


def test_bundles_without_a_version_are_found(registry: Registry, run: Path) -> None:
    stray = run.parent / "store" / "models" / "small-safe" / ("e" * 64)
    stray.mkdir()
    (stray / "config.json").write_text("{}")
    assert findings(registry) == [
        "the store has an unfinished bundle eeeeeeeeeeee that no version names"
    ]


def test_versions_that_the_journal_does_not_know_are_found(registry: Registry, run: Path) -> None:
    registry.tracker.create_model_version("small-safe", source="s3://elsewhere/model")
    [found] = findings(registry)
    assert found.startswith("version 3 is in MLflow and not in the journal")
    tamper(run, "delete from model_versions where name = 'small-safe' and version = 3")
    tamper(
        run,
        "update model_versions set source = 'x' where name = 'small-safe' and version = ?",
        2,
    )
    [found] = findings(registry)
    assert found.startswith("version 2 names x in MLflow")

"""The journal under a crowd, under crashes, and under somebody who edits the database."""

import json
import multiprocessing
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.registry import Registry, RegistryConfig, approve, promote, reconcile, reject
from dgr.registry.history import Kind, Move
from dgr.registry.journal import TAG, Draft, Journal
from tests.registry.candidates import CONFIG, candidate, opened

# Fifty forks of what has run other tests are fifty copies of their memory.
SMALL = multiprocessing.get_context("forkserver")
SMALL.set_forkserver_preload(["dgr.registry", "mlflow"])
CROWD = 50


def two_approved(run: Path, config: RegistryConfig) -> Registry:
    """Champion 1, and versions 2 and 3 that were both decided on against it."""
    candidate(run, "one", config)
    registry = opened(run, config)
    approve(registry, "1", reason="ok")
    promote(registry, "1")
    bundle = registry.history().champion_bundle
    for weights in ("two", "three"):
        candidate(run, weights, config, champion=bundle)
    for version in "23":
        approve(registry, version, reason="ok")
    return registry


def promoter(
    run: Path,
    config: RegistryConfig,
    version: str,
    environment: Mapping[str, str],
    start: Any,
    told: Any,
) -> None:
    """One process of the crowd; it tells what came of its promotion."""
    os.environ.update(environment)  # its own is the fork server's
    start.wait()
    try:
        promote(opened(run, config), version, actor=f"process {version}")
        told.put(version)
    except UserError as error:
        told.put(str(error))


def crowd(run: Path, config: RegistryConfig, watch: Callable[[], None]) -> list[str]:
    """What each of the 50 promotions came to; `watch` is called all the while."""
    start, told = SMALL.Event(), SMALL.Queue()
    people = [
        SMALL.Process(
            target=promoter, args=(run, config, "23"[n % 2], dict(os.environ), start, told)
        )
        for n in range(CROWD)
    ]
    for person in people:
        person.start()
    start.set()
    answers: list[str] = []
    while len(answers) < CROWD:
        watch()
        with suppress(Empty):
            answers.append(told.get_nowait())
        assert all(person.exitcode in (None, 0) for person in people), "one of the crowd died"
    for person in people:
        person.join()
    return answers


def check_crowd(run: Path, config: RegistryConfig) -> None:
    registry = two_approved(run, config)
    seen: list[str] = []

    def watch() -> None:
        # Raises where the alias is missing for an instant.
        found = registry.tracker.get_model_version_by_alias(registry.name, "champion")
        if not seen or seen[-1] != str(found.version):
            seen.append(str(found.version))

    answers = crowd(run, config, watch)
    winners = [answer for answer in answers if answer in ("2", "3")]
    assert len(winners) == 1, answers
    [winner] = winners
    refused = ("the champion is version", "is champion; only what is approved")
    odd = {text for text in answers if text != winner and not any(why in text for why in refused)}
    assert not odd
    assert seen in (["1", winner], [winner])
    history = registry.history()
    promoted = [move for move in history.moves if move.kind is Kind.PROMOTED]
    assert [move.version for move in promoted] == ["1", winner]
    assert promoted[-1].actor == f"process {winner}"
    assert history.champion == winner and history.previous == "1"
    assert reconcile(registry) == []


def test_fifty_promotions_at_once_make_one_champion(run: Path) -> None:
    check_crowd(run, CONFIG)


def raced(tracker: Any, other: Callable[[], object]) -> Any:
    """A tracker before whose first entry another one is written."""

    class Raced:
        def __getattr__(self, name: str) -> Any:
            return getattr(tracker, name)

        def create_model_version(self, name: str, **values: Any) -> Any:
            nonlocal other
            act, other = other, lambda: None
            act()
            return tracker.create_model_version(name, **values)

    return Raced()


def draft(kind: Kind, version: str) -> Draft:
    return Draft(kind, version, bundle="b", decision="d", actor="a", reason="r")


@pytest.fixture
def registry(run: Path) -> Registry:
    """With one candidate, version 1."""
    candidate(run, "one")
    return opened(run)


def test_who_is_overtaken_decides_anew(registry: Registry) -> None:
    """An approval that a rejection overtook counts only after it, and by its rules."""
    own = Journal(
        raced(registry.tracker, lambda: reject(registry, "1", reason="no")),
        registry.store,
        registry.name,
    )
    own.append(draft(Kind.APPROVED, "1"))
    history = registry.history()
    assert [move.kind for move in history.moves] == ["registered", "rejected", "approved"]
    # The entry that was overtaken stays in its place and does not count.
    assert [move.place for move in history.moves] == [1, 2, 4]
    assert history.versions["1"].state == "approved"


def test_who_is_overtaken_may_be_refused(registry: Registry) -> None:
    own = Journal(
        raced(registry.tracker, lambda: approve(registry, "1", reason="yes")),
        registry.store,
        registry.name,
    )
    with pytest.raises(UserError, match="version 1 is approved; only what is"):
        own.append(draft(Kind.REMOVED, "1"))
    assert registry.history().versions["1"].state == "approved"


def test_a_lost_answer_makes_no_second_entry(registry: Registry) -> None:
    """The registry wrote the entry, and the connection broke before it could say so."""
    from mlflow.exceptions import MlflowException

    class Deaf:
        def __getattr__(self, name: str) -> Any:
            return getattr(registry.tracker, name)

        def create_model_version(self, *args: Any, **values: Any) -> Any:
            registry.tracker.create_model_version(*args, **values)
            raise MlflowException("connection reset")

    own = Journal(Deaf(), registry.store, registry.name)
    own.append(draft(Kind.REJECTED, "1"))
    assert [move.kind for move in registry.history().moves] == ["registered", "rejected"]


def test_a_registry_that_takes_nothing_is_told(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def refuse(*_: Any, **__: Any) -> Any:
        raise MlflowException("permission denied")

    monkeypatch.setattr("dgr.registry.journal.PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("dgr.registry.tracking.PATIENCE", 0.5)
    monkeypatch.setattr(registry.tracker, "create_model_version", refuse)
    with pytest.raises(UserError, match="permission denied"):
        reject(registry, "1", reason="no")


def tamper(run: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(run.parent / "mlflow.db") as database:
        assert database.execute(statement, values).rowcount == 1


def entry(registry: Registry, place: int) -> dict[str, Any]:
    found = registry.tracker.get_model_version(registry.name + ".journal", str(place))
    return dict(json.loads(found.tags[TAG]))


SET_ENTRY = (
    "update model_version_tags set value = ? "
    "where name = 'small-safe.journal' and version = ? and key = 'dgr.move'"
)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "rejected"}, "differs from"),  # the last entry: its copy tells
        ({"place": 7}, "which the registry does not know"),  # made one that does not count
        ({"previous": "0" * 64}, "was changed after it was written"),
        ({"model": "other"}, "belongs to other"),
        ({"format": None}, "cannot be read"),
    ],
)
def test_an_edited_last_entry_stops_every_move(
    registry: Registry, run: Path, change: dict[str, Any], complaint: str
) -> None:
    approve(registry, "1", reason="ok")
    tamper(run, SET_ENTRY, json.dumps(entry(registry, 2) | change), 2)
    with pytest.raises(UserError, match=complaint):
        registry.journal.append(draft(Kind.REJECTED, "1"))
    assert any(not finding.mended for finding in reconcile(registry, repair=True))


def test_an_edited_or_deleted_older_entry_stops_every_move(registry: Registry, run: Path) -> None:
    approve(registry, "1", reason="ok")
    tamper(run, SET_ENTRY, json.dumps(entry(registry, 1) | {"bundle": "f" * 64}), 1)
    with pytest.raises(UserError, match=r"entry 2 .* or one before it was changed"):
        registry.history()
    tamper(run, "delete from model_versions where name = 'small-safe.journal' and version = ?", 1)
    with pytest.raises(UserError, match="entry 1 of its journal is missing"):
        registry.history()


def test_a_database_restored_from_an_older_state_is_noticed(registry: Registry, run: Path) -> None:
    backup = (run.parent / "mlflow.db").read_bytes()
    approve(registry, "1", reason="ok")
    (run.parent / "mlflow.db").write_bytes(backup)
    again = opened(run)
    with pytest.raises(UserError, match="restored from an older state"):
        reject(again, "1", reason="no")
    assert any("the store has entry 2" in finding.what for finding in reconcile(again))


def test_old_entries_stay_readable() -> None:
    """As format 1 was written by version 0.1.0."""
    text = (
        '{"format":1,"id":"5f","model":"m","place":1,"previous":"","kind":"registered",'
        '"version":"1","bundle":"b","decision":"d","actor":"ada@host","reason":"passed the gate",'
        '"time":"2026-11-25T13:22:27.780+00:00"}'
    )
    assert Move.model_validate_json(text).model_dump_json() == text

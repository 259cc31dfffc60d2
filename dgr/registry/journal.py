"""The journal of a model: every move, in one order that all who write agree on.

An entry is a version of the registered model `<name>.journal`. The registry's database numbers
them, no two alike, so that number serves as compare-and-set: who writes an entry says which number
it expects, having read all entries before, and an entry that got another number does not count.
There is no lock that a crash could leave behind.

Each entry holds the SHA-256 of the one before it, and the store keeps a copy of each: what was
changed, deleted, or lost with a restored database is noticed, and nothing moves until it is mended.
"""

import getpass
import json
import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import environ
from typing import Any

from pydantic import ValidationError

from dgr.errors import UserError
from dgr.files import canonical_json, sha256_text
from dgr.registry.history import History, Kind, Move, refusal, replay
from dgr.storage import Store

SUFFIX = ".journal"
TAG = "dgr.move"
ACTOR_ENV = "DGR_ACTOR"
"""Environment variable that names who moves a model; else the user and machine."""
MOST_FAILURES = 6
PAUSE_SECONDS = 0.1
"""The longest pause after one failure; it doubles with each that follows."""
_PAGE = 1_000


@dataclass(frozen=True)
class Draft:
    """A move that somebody wants to make. However often it is tried, it is made once."""

    kind: Kind
    version: str
    bundle: str
    decision: str
    actor: str
    reason: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


Check = Callable[[History], str | None]
"""Why a move cannot be made after this history; None when it can."""


class Journal:
    """The journal of one model, in the registry, with a copy in the store."""

    def __init__(self, tracker: Any, store: Store, model: str) -> None:
        self.tracker, self.store, self.model = tracker, store, model
        self.name = model + SUFFIX

    def read(self) -> History:
        """What the entries come to. Raises `UserError` when the journal was tampered with."""
        return replay(self._counting(self._entries()))

    def append(self, draft: Draft, check: Check = lambda _: None) -> Move:
        """Make a move if the rules and `check` allow it in the state that it will find.

        Raises `UserError` when they do not, and when the store remembers later moves than the
        registry.
        """
        self._create()
        failures, seen = 0, -1
        while True:
            # Before the entries are read: a copy is always younger than its entry.
            copies = self.store.list(f"journal/{self.model}")
            entries = self._entries()
            history = replay(self._counting(entries))
            made = next((move for move in history.moves if move.id == draft.id), None)
            if made:
                self.copy(made)
                return made
            self._check_copy(history, copies)
            problem = refusal(history, draft.kind, draft.version) or check(history)
            if problem:
                raise UserError(f"{self.model}: {problem}")
            # Entries of others are progress; only a registry that takes none is given up.
            failures = failures if len(entries) == seen else 0
            seen = len(entries)
            move = self._move(draft, history, place=seen + 1)
            failures += not self._write(move, last=failures == MOST_FAILURES)
            time.sleep(random.uniform(0, PAUSE_SECONDS) * 2**failures if failures else 0)

    def _move(self, draft: Draft, history: History, place: int) -> Move:
        return Move(
            id=draft.id,
            model=self.model,
            place=place,
            previous=digest(history.moves[-1]) if history.moves else "",
            kind=draft.kind,
            version=draft.version,
            bundle=draft.bundle,
            decision=draft.decision,
            actor=draft.actor,
            reason=draft.reason,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def copy(self, move: Move) -> None:
        """Keep an entry in the store."""
        self.store.create_text(self.key(move.place), move.model_dump_json() + "\n")

    def key(self, place: int) -> str:
        return f"journal/{self.model}/{place:08}.json"

    def copies(self) -> dict[int, str]:
        """Place -> text of the entries that the store has."""
        keys = self.store.list(f"journal/{self.model}")
        return {
            int(key.rpartition("/")[2].split(".")[0]): self.store.read_text(key) for key in keys
        }

    def _check_copy(self, history: History, keys: list[str]) -> None:
        """The store remembers no later entry than the registry, and the same last one.

        The hashes guard every entry but the last.
        """
        place = history.moves[-1].place if history.moves else 0
        if keys and keys[-1] > self.key(place):
            raise UserError(
                f"{self.model}: the store holds {keys[-1]}, which the registry does not know; the "
                "registry was changed, or restored from an older state: run `dgr models fsck`"
            )
        if keys and keys[-1] == self.key(place):
            copy = self.store.read_text(keys[-1])
            if copy != history.moves[-1].model_dump_json() + "\n":
                raise self._damaged(place, f"differs from {self.store.uri_of(keys[-1])}")

    def _create(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.tracker.create_registered_model(
                self.name,
                tags={"dgr.journal": self.model},
                description=f"Every move of {self.model}, in order. Written by dgr; do not edit.",
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _write(self, move: Move, last: bool) -> bool:
        """Write an entry. What became of it, only the journal tells: the answer may be lost."""
        from mlflow.exceptions import MlflowException

        try:
            self.tracker.create_model_version(
                self.name,
                source=f"dgr-journal:/{self.model}/{move.place}",
                tags={TAG: move.model_dump_json()},
                description=f"{move.kind} version {move.version}, by {move.actor}: {move.reason}",
            )
        except MlflowException:
            if last:
                raise
            return False
        return True

    def _entries(self) -> list[str]:
        """The text of every entry, by place. Raises `UserError` when one was deleted."""
        texts = {
            int(entry.version): entry.tags.get(TAG, "")
            for entry in search_versions(self.tracker, self.name)
        }
        gap = next((place for place in range(1, len(texts) + 1) if place not in texts), None)
        if gap is not None:
            raise self._damaged(gap, "is missing")
        return [texts[place] for place in sorted(texts)]

    def _counting(self, entries: list[str]) -> list[Move]:
        """The entries that count: those in the place that their author expected."""
        moves: list[Move] = []
        for place, text in enumerate(entries, start=1):
            try:
                move = Move.model_validate_json(text)
            except ValidationError:
                raise self._damaged(place, "cannot be read") from None
            if move.model != self.model:
                raise self._damaged(place, f"belongs to {move.model}")
            if move.place != place:
                continue
            if move.previous != (digest(moves[-1]) if moves else ""):
                raise self._damaged(place, "or one before it was changed after it was written")
            moves.append(move)
        return moves

    def _damaged(self, place: int, what: str) -> UserError:
        return UserError(
            f"{self.model}: entry {place} of its journal {what}; nothing moves until "
            "`dgr models fsck` finds no more"
        )


def search_versions(tracker: Any, name: str) -> list[Any]:
    """All versions of a registered model, oldest first."""
    found: list[Any] = []
    token = None
    while True:
        page = tracker.search_model_versions(
            f"name = '{name}'", max_results=_PAGE, page_token=token
        )
        found.extend(page)
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def is_journal(model: Any) -> bool:
    """Whether a registered model of MLflow is another one's journal."""
    return "dgr.journal" in model.tags or model.name.endswith(SUFFIX)


def digest(move: Move) -> str:
    return sha256_text(canonical_json(json.loads(move.model_dump_json())))


def who() -> str:
    """Who acts: DGR_ACTOR, or user@machine."""
    return environ.get(ACTOR_ENV) or f"{getpass.getuser()}@{socket.gethostname()}"

"""The states of a model's versions, a pure function of the moves that were made.

candidate ──approve──► approved ──promote──► champion ──promote of another──► previous
    │ ▲                   │                     │                                │
  reject approve        reject             rollback to another                retired
    ▼ │                   ▼                     ▼
  rejected ◄──────────────┘                rolled-back
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dgr.records import Record


class Kind(StrEnum):
    """What can be done to a version."""

    REGISTERED = "registered"
    APPROVED = "approved"
    REJECTED = "rejected"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"  # to this version; the champion before it is the one that was bad
    REMOVED = "removed"


class State(StrEnum):
    """Where a version stands."""

    CANDIDATE = "candidate"  # passed the gate
    APPROVED = "approved"
    REJECTED = "rejected"
    CHAMPION = "champion"
    PREVIOUS = "previous"  # the champion before this one: what a rollback goes to
    RETIRED = "retired"  # a champion of longer ago
    ROLLED_BACK = "rolled-back"
    REMOVED = "removed"  # its bundle is deleted


class Move(Record):
    """One entry of the journal: who did what to which version, when and why."""

    format: int = 1
    id: str
    """Unique to this move: by it, its author finds whether it was made."""
    model: str
    place: int
    """Its number in the journal, from 1."""
    previous: str
    """SHA-256 of the entry before it; empty for the first."""
    kind: Kind
    version: str
    """The version that is moved, as the registry numbers it."""
    bundle: str
    """Digest of the version's bundle."""
    decision: str
    """SHA-256 of the decision that let the bundle pass."""
    actor: str
    reason: str
    time: str
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Version:
    """What the journal says of one version."""

    bundle: str
    decision: str
    state: State
    last: Move


@dataclass(frozen=True)
class History:
    """What a journal comes to."""

    moves: tuple[Move, ...] = ()
    versions: dict[str, Version] = field(default_factory=dict)
    line: tuple[str, ...] = ()
    """The versions that were champion and were not rolled back, oldest first; the last one is the
    champion."""

    @property
    def champion(self) -> str | None:
        return self.line[-1] if self.line else None

    @property
    def previous(self) -> str | None:
        return self.line[-2] if len(self.line) > 1 else None

    @property
    def champion_bundle(self) -> str | None:
        """Digest of the champion's bundle; None where there is no champion."""
        return self.versions[self.champion].bundle if self.champion else None

    def newest(self, state: State) -> str | None:
        """The version that came last into a state."""
        found = [name for name, version in self.versions.items() if version.state is state]
        return max(found, key=lambda name: self.versions[name].last.place, default=None)


def replay(moves: Iterable[Move]) -> History:
    """The states after these moves, oldest first."""
    history = History()
    for move in moves:
        history = _after(history, move)
    return history


_RESULT = {
    Kind.REGISTERED: State.CANDIDATE,
    Kind.APPROVED: State.APPROVED,
    Kind.REJECTED: State.REJECTED,
    Kind.PROMOTED: State.CHAMPION,
    Kind.ROLLED_BACK: State.CHAMPION,
    Kind.REMOVED: State.REMOVED,
}


def _after(history: History, move: Move) -> History:
    versions = dict(history.versions)
    line = history.line
    if move.kind is Kind.PROMOTED:
        line = (*line, move.version)
    elif move.kind is Kind.ROLLED_BACK:
        for bad in line[line.index(move.version) + 1 :]:
            versions[bad] = replace(versions[bad], state=State.ROLLED_BACK)
        line = line[: line.index(move.version) + 1]
    elif move.kind is Kind.REMOVED:
        line = tuple(version for version in line if version != move.version)
    versions[move.version] = Version(move.bundle, move.decision, _RESULT[move.kind], move)
    for version, state in zip(reversed(line), (State.CHAMPION, State.PREVIOUS), strict=False):
        versions[version] = replace(versions[version], state=state)
    for version in line[:-2]:
        versions[version] = replace(versions[version], state=State.RETIRED)
    return History((*history.moves, move), versions, line)


_FROM = {
    Kind.APPROVED: (State.CANDIDATE, State.REJECTED, State.ROLLED_BACK),
    Kind.REJECTED: (State.CANDIDATE, State.APPROVED),
    Kind.PROMOTED: (State.APPROVED,),
    Kind.REMOVED: (State.CANDIDATE, State.REJECTED, State.RETIRED, State.ROLLED_BACK),
}
_VERB = {
    Kind.APPROVED: "approved",
    Kind.REJECTED: "rejected",
    Kind.PROMOTED: "promoted",
    Kind.REMOVED: "removed",
}


def refusal(history: History, kind: Kind, version: str) -> str | None:
    """Why a move cannot be made now; None when it can."""
    known = history.versions.get(version)
    if kind is Kind.REGISTERED:
        again = known is not None and known.state is not State.REMOVED
        return f"version {version} is registered already" if again else None
    if known is None:
        return f"version {version} is not in the journal; register it first"
    if kind is Kind.ROLLED_BACK:
        if version in history.line[:-1]:
            return None
        return f"version {version} is {known.state}: no champion before the one of now"
    if known.state in _FROM[kind]:
        return None
    states = " or ".join(_FROM[kind])
    return f"version {version} is {known.state}; only what is {states} can be {_VERB[kind]}"

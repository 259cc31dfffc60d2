"""Moving a model: approve, reject, promote, roll back.

Every move checks what it stands on, is one entry of the journal, and is then shown in MLflow.
"""

from collections.abc import Mapping
from typing import Any

from dgr.errors import UserError
from dgr.files import canonical_json
from dgr.notify import Event, EventKind, notify
from dgr.registry.history import History, Kind, Move, Version, refusal
from dgr.registry.journal import Check, Draft, who
from dgr.registry.registry import Registry

Policy = Mapping[str, Any]
"""The gate's policy as JSON."""


def approve(registry: Registry, version: str, *, reason: str, actor: str = "") -> Move:
    """Say that a candidate may be promoted: by whom, and why.

    The bundle is read again byte by byte, and its signature and decision are checked.
    """
    number, found = _movable(registry, Kind.APPROVED, registry.history(), version)
    registry.check_source(number, found)
    registry.bundle(found)
    return move(registry, _draft(Kind.APPROVED, number, found, reason, actor))


def reject(registry: Registry, version: str, *, reason: str, actor: str = "") -> Move:
    """Say that a candidate or an approved version shall not be promoted."""
    number, found = _movable(registry, Kind.REJECTED, registry.history(), version)
    return move(registry, _draft(Kind.REJECTED, number, found, reason, actor))


def promote(
    registry: Registry,
    version: str = "approved",
    *,
    policy: Policy | None = None,
    reason: str = "",
    actor: str = "",
) -> Move:
    """Make an approved version the champion.

    Its bundle is read again byte by byte; its signature must hold, its decision must be on these
    weights, under `policy` where one is given, and against the champion of now. Raises
    `UserError` naming what does not hold.
    """
    number, found = _movable(registry, Kind.PROMOTED, registry.history(), version)
    registry.check_source(number, found)
    bundle = registry.bundle(found)
    if policy is not None and canonical_json(bundle.decision["policy"]) != canonical_json(policy):
        raise UserError(
            f"{registry.name}: version {number} was decided on under another policy than the "
            "config's; run the pipeline again under this one"
        )
    against = bundle.decision["identity"].get("champion")
    draft = _draft(Kind.PROMOTED, number, found, reason, actor)
    return move(registry, draft, lambda now: stale(now, against))


def stale(history: History, against: str | None) -> str | None:
    """Why a decision no longer holds: it must have been made against the champion of now."""
    if history.champion_bundle == against:
        return None
    now = f"version {history.champion}" if history.champion else "none"
    then = next(
        (f"version {name}" for name, found in history.versions.items() if found.bundle == against),
        "none" if against is None else f"bundle {against[:12]}",
    )
    return (
        f"the decision was made against champion {then}, and the champion is {now}; "
        "run the pipeline again, so that the gate compares it with the champion of now"
    )


def rollback(registry: Registry, to: str | None = None, *, reason: str, actor: str = "") -> Move:
    """Make the previous champion (or an older one, by number) the champion again.

    Of its bundle, names, sizes, signature and decision are checked, which takes seconds whatever
    its size. The bundle of the bad version is not looked at.
    """
    history = registry.history()
    if history.previous is None:
        raise UserError(f"{registry.name} has no champion before the one of now to go back to")
    number, found = _movable(registry, Kind.ROLLED_BACK, history, to or history.previous)
    registry.bundle(found, deep=False)
    bad = history.champion

    def same_champion(now: History) -> str | None:
        """Two who roll back the same bad version go back once."""
        if now.champion != bad:
            return f"version {bad} is not the champion any more, version {now.champion} is"
        return None

    return move(registry, _draft(Kind.ROLLED_BACK, number, found, reason, actor), same_champion)


def _movable(registry: Registry, kind: Kind, history: History, version: str) -> tuple[str, Version]:
    """A version that may be moved so as things stand; told before anything large is read."""
    number, found = registry.version(history, version)
    if problem := refusal(history, kind, number):
        raise UserError(f"{registry.name}: {problem}")
    return number, found


def _draft(kind: Kind, number: str, version: Version, reason: str, actor: str) -> Draft:
    return Draft(kind, number, version.bundle, version.decision, actor or who(), reason)


def move(registry: Registry, draft: Draft, check: Check = lambda _: None) -> Move:
    """Make a move, show it in MLflow, and tell whoever wants to know."""
    made = registry.patiently(lambda: registry.journal.append(draft, check))
    registry.settle()
    if kind := _TOLD.get(made.kind):
        event = Event(
            id=made.id,
            kind=kind,
            model=made.model,
            version=made.version,
            digest=made.bundle,
            text=sentence(made),
            actor=made.actor,
            details={"reason": made.reason, "place": made.place},
        )
        notify(registry.notify, event)
    return made


_TOLD = {
    Kind.REGISTERED: EventKind.CANDIDATE,
    Kind.APPROVED: EventKind.APPROVED,
    Kind.REJECTED: EventKind.REJECTED,
    Kind.PROMOTED: EventKind.PROMOTED,
    Kind.ROLLED_BACK: EventKind.ROLLED_BACK,
}


def sentence(move: Move) -> str:
    """A move in words."""
    why = f": {move.reason}" if move.reason else ""
    if move.kind is Kind.ROLLED_BACK:
        return f"{move.model} rolled back to v{move.version} by {move.actor}{why}"
    return f"{move.model} v{move.version} {move.kind.value} by {move.actor}{why}"

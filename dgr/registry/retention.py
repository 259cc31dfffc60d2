"""Retention: old bundles are removed, and never one that may still be needed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dgr.registry.bundle import bundle_key
from dgr.registry.history import History, Kind, State, Version
from dgr.registry.journal import Draft, search_versions, who
from dgr.registry.moving import move
from dgr.registry.reconciling import stored_bundles
from dgr.registry.registry import Registry
from dgr.registry.tracking import told
from dgr.steps import MANIFEST

REMOVABLE = (State.CANDIDATE, State.REJECTED, State.RETIRED, State.ROLLED_BACK)


@dataclass(frozen=True)
class Removal:
    """A bundle to remove, and why."""

    digest: str
    version: str
    why: str
    """Its state."""
    size: int
    """Bytes in the store."""


def removable(
    registry: Registry, *, keep: int, older_than: timedelta, now: datetime | None = None
) -> list[Removal]:
    """The bundles that may go, in the order in which they were last moved.

    Never those of the champion, the previous champion or an approved version, nor one that an
    alias of MLflow names or that carries the tag `dgr.keep`. Of the others the newest `keep` stay,
    and what was moved more recently than `older_than`.
    """
    history = registry.history()
    before = (now or datetime.now(UTC)) - older_than
    needed = _needed(registry, history)
    old = sorted(
        (
            (version.last.place, number, version)
            for number, version in history.versions.items()
            if version.state in REMOVABLE and number not in needed
        ),
        reverse=True,
    )[keep:]
    stored = stored_bundles(registry)
    found = [
        Removal(version.bundle, number, version.state, _size(registry, version.bundle))
        for _, number, version in reversed(old)
        if datetime.fromisoformat(version.last.time) < before
    ]
    # A removal that was cut off is finished. A bundle without a version may just be coming in.
    found += [
        Removal(version.bundle, number, version.state, _size(registry, version.bundle))
        for number, version in history.versions.items()
        if version.state is State.REMOVED
        and version.bundle in stored
        and not _shared(history, number, version)
    ]
    return found


def remove(registry: Registry, removal: Removal, *, actor: str = "") -> None:
    """Remove one bundle: the journal first, so that nobody can promote it meanwhile; then the
    manifest, so that what is left is no bundle; then the rest."""
    history = registry.history()
    version = history.versions[removal.version]
    if version.state is not State.REMOVED:
        draft = Draft(
            kind=Kind.REMOVED,
            version=removal.version,
            bundle=version.bundle,
            decision=version.decision,
            actor=actor or who(),
            reason=f"retention: it was {removal.why}",
        )
        move(registry, draft)
        history = registry.history()
    if not _shared(history, removal.version, version):
        key = bundle_key(registry.name, removal.digest)
        registry.store.delete(f"{key}/{MANIFEST}")
        for name in registry.store.list(key):
            registry.store.delete(name)


def _needed(registry: Registry, history: History) -> set[str]:
    """Versions that somebody points at: by state, by an alias, or by the tag `dgr.keep`."""
    with told(registry.tracker.tracking_uri):
        if not history.moves:
            return set()
        aliases = registry.tracker.get_registered_model(registry.name).aliases
        newest = history.newest(State.CANDIDATE)
        tagged = {
            str(version.version)
            for version in search_versions(registry.tracker, registry.name)
            if "dgr.keep" in version.tags
        }
    own = {State.CANDIDATE.value}
    named = {str(version) for alias, version in aliases.items() if alias not in own}
    return named | tagged | ({newest} if newest else set())


def _shared(history: History, number: str, version: Version) -> bool:
    """Whether another version that is not removed has the same bundle."""
    return any(
        other != number and found.bundle == version.bundle and found.state is not State.REMOVED
        for other, found in history.versions.items()
    )


def _size(registry: Registry, digest: str) -> int:
    keys = registry.store.list(bundle_key(registry.name, digest))
    return sum(registry.store.size(key) for key in keys)

"""The reconciler: what registry and store say of a model, held against each other."""

from collections.abc import Iterator
from dataclasses import dataclass

from dgr.errors import UserError
from dgr.registry.bundle import bundle_key
from dgr.registry.history import History, State
from dgr.registry.journal import search_versions
from dgr.registry.registry import Registry, unsettled
from dgr.registry.tracking import told
from dgr.steps import MANIFEST


@dataclass(frozen=True)
class Finding:
    """One disagreement. `mended` says that it was put right."""

    what: str
    mended: bool = False


def reconcile(registry: Registry, *, repair: bool = False, deep: bool = False) -> list[Finding]:
    """Every disagreement between journal, its copy in the store, MLflow, and the bundles.

    `repair` mends what follows from the journal alone: copies that are missing, aliases and tags.
    It never changes an entry and never deletes a bundle. `deep` reads every byte of every bundle.
    """
    # Before the entries are read: a copy is always younger than its entry.
    copies = registry.journal.copies()
    with told(registry.tracker.tracking_uri):
        try:
            history = registry.journal.read()
        except UserError as error:
            return [Finding(str(error))]
        return [
            *_copies(registry, history, copies, repair),
            *_shown(registry, history, repair),
            *_versions(registry, history),
            *_bundles(registry, history, deep),
        ]


def _copies(
    registry: Registry, history: History, copies: dict[int, str], repair: bool
) -> Iterator[Finding]:
    """Every entry stands in the store as it stands in the registry."""
    journal = registry.journal
    for move in history.moves:
        text = copies.pop(move.place, None)
        if text is None:
            if repair:
                journal.copy(move)
            yield Finding(f"entry {move.place} has no copy in the store", mended=repair)
        elif text != move.model_dump_json() + "\n":
            copy = registry.store.uri_of(journal.key(move.place))
            yield Finding(f"entry {move.place} differs from its copy {copy}")
    for place in copies:
        yield Finding(
            f"the store has entry {place} and the registry has not: restore the registry's "
            "database to its newest state"
        )


def _shown(registry: Registry, history: History, repair: bool) -> Iterator[Finding]:
    """MLflow's aliases and tags show the journal."""
    for change in unsettled(registry.tracker, registry.name, history):
        if repair:
            change.make(registry.tracker, registry.name)
        yield Finding(str(change), mended=repair)


def _versions(registry: Registry, history: History) -> Iterator[Finding]:
    """MLflow has the journal's versions, each with its own bundle, and no others."""
    found = {str(v.version): v for v in search_versions(registry.tracker, registry.name)}
    for number, version in history.versions.items():
        if number not in found:
            yield Finding(f"version {number} is in the journal and not in MLflow")
        elif found[number].source != registry.source(version.bundle):
            yield Finding(
                f"version {number} names {found[number].source} in MLflow, and the journal "
                f"{registry.source(version.bundle)}"
            )
    for number in found.keys() - history.versions.keys():
        yield Finding(
            f"version {number} is in MLflow and not in the journal: its registration was cut off, "
            "run the pipeline again, or it was made by hand"
        )


def _bundles(registry: Registry, history: History, deep: bool) -> Iterator[Finding]:
    """Every version that is not removed has its bundle whole; no bundle is without a version."""
    digests = set()
    for number, version in history.versions.items():
        digests.add(version.bundle)
        if version.state is State.REMOVED:
            continue
        try:
            registry.bundle(version, deep=deep)
        except UserError as error:
            yield Finding(f"version {number}: {error}")
    for digest, whole in stored_bundles(registry).items():
        what = "a whole" if whole else "an unfinished"
        if digest not in digests:
            yield Finding(f"the store has {what} bundle {digest[:12]} that no version names")
        elif all(
            found.state is State.REMOVED
            for found in history.versions.values()
            if found.bundle == digest
        ):
            yield Finding(f"bundle {digest[:12]} is there although its version was removed")


def stored_bundles(registry: Registry) -> dict[str, bool]:
    """Digest of every bundle in the store -> whether its manifest is there."""
    prefix = bundle_key(registry.name, "")
    found: dict[str, bool] = {}
    for key in registry.store.list(prefix):
        digest, _, name = key.removeprefix(prefix.rstrip("/") + "/").partition("/")
        found[digest] = found.get(digest, False) or name == MANIFEST
    return found

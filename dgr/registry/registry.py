"""One model's registry: versions and aliases in MLflow, bundles and the journal's copy in a store.

    registry = open_registry(config, home=Path("runs"))
    registry.history().champion
    registry.settle()

The journal decides. Aliases and tags in MLflow show what it says, and are set again from it after
every move and by every reconciliation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dgr.errors import UserError
from dgr.notify import NOBODY, NotifyConfig
from dgr.registry.bundle import Bundle, bundle_key, decision_problem, inspect
from dgr.registry.config import RegistryConfig
from dgr.registry.history import History, State, Version
from dgr.registry.journal import Journal, search_versions
from dgr.registry.tracking import client, hidden, patiently, tracking_uri
from dgr.storage import Store, open_store

FoundT = TypeVar("FoundT")

STATE_TAG = "dgr.state"
SHOWN = (State.CANDIDATE, State.APPROVED, State.CHAMPION, State.PREVIOUS)
"""States that an alias of the same name shows; the newest version in each."""


@dataclass(frozen=True)
class Registry:
    """The registry of the model that a config names."""

    config: RegistryConfig
    tracker: Any
    store: Store
    notify: NotifyConfig = NOBODY
    """Who is told of moves."""

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def journal(self) -> Journal:
        return Journal(self.tracker, self.store, self.name)

    def history(self) -> History:
        return self.patiently(self.journal.read)

    def patiently(self, work: Callable[[], FoundT]) -> FoundT:
        """Do work that may be done twice, again while MLflow is away."""
        return patiently(self.tracker.tracking_uri, work)

    def bundle(self, version: Version, *, deep: bool = True) -> Bundle:
        """Check a version's bundle and what its decision says of it; `UserError` names what is
        wrong. `deep` reads every byte."""
        key = bundle_key(self.name, version.bundle)
        found = inspect(self.store, key, version.bundle, self.config.signing, deep=deep)
        problem = decision_problem(found)
        if found.decision_digest != version.decision:
            problem = "its decision is not the one that it was registered with"
        if problem:
            raise UserError(f"{self.store.uri_of(key)}: {problem}")
        return found

    def version(self, history: History, name: str) -> tuple[str, Version]:
        """A version by number or by the alias that shows its state."""
        aliases = shown(history)
        number = aliases.get(name, name.removeprefix("v"))
        if number not in history.versions:
            known = ", ".join([*history.versions, *aliases]) or "none"
            raise UserError(f"{self.name} has no version '{name}'; it has {known}")
        return number, history.versions[number]

    def check_source(self, number: str, version: Version) -> None:
        """MLflow names the bundle that the journal names."""
        found = self.patiently(lambda: self.tracker.get_model_version(self.name, number))
        if found.source != self.source(version.bundle):
            raise UserError(
                f"{self.name}: version {number} names {found.source} in MLflow, and its journal "
                f"{self.source(version.bundle)}; run `dgr models fsck`"
            )

    def source(self, digest: str) -> str:
        """Where a bundle is, as MLflow keeps it."""
        uri = self.store.uri_of(bundle_key(self.name, digest))
        return uri if "://" in uri else Path(uri).as_uri()

    def settle(self) -> History:
        """Show the journal in MLflow: aliases, and the state of each version as a tag.

        Whoever is overtaken by another move while he sets them sets them again.
        """
        return self.patiently(self._settle)

    def _settle(self) -> History:
        history = self.journal.read()
        while True:
            for change in unsettled(self.tracker, self.name, history):
                change.make(self.tracker, self.name)
            now = self.journal.read()
            if now.moves == history.moves:
                return history
            history = now


def open_registry(
    config: RegistryConfig, home: Path | None, notify: NotifyConfig = NOBODY
) -> Registry:
    """The registry; `home` is the folder of runs with the embedded one (None: there is none)."""
    uri, store = tracking_uri(config.tracking_uri, home), open_store(store_uri(config, home))
    if uri.startswith("http") and "://" not in store.uri:
        raise UserError(
            f"the MLflow server at {hidden(uri)} takes no models from {store.uri}, a folder of "
            "this machine: set registry.store to s3://bucket/prefix"
        )
    return Registry(config, client(uri), store, notify)


def store_uri(config: RegistryConfig, home: Path | None) -> str:
    if config.store:
        return config.store
    if home is None:
        raise UserError("a run in a remote store needs a store for models: set registry.store")
    return str(home.absolute() / "store")


def shown(history: History) -> dict[str, str]:
    """Alias -> version, as it should be."""
    found = {state.value: history.newest(state) for state in SHOWN}
    return {alias: version for alias, version in found.items() if version is not None}


@dataclass(frozen=True)
class Change:
    """What MLflow shows otherwise than the journal. An alias without a version is to be deleted;
    a tag is the state of `version`."""

    version: str | None
    alias: str | None = None
    state: State | None = None

    def make(self, tracker: Any, model: str) -> None:
        if self.state is not None:
            tracker.set_model_version_tag(model, self.version, STATE_TAG, self.state.value)
        elif self.version is None:
            tracker.delete_registered_model_alias(model, self.alias)
        else:
            tracker.set_registered_model_alias(model, self.alias, self.version)

    def __str__(self) -> str:
        if self.state is not None:
            return f"version {self.version} is not shown as {self.state}"
        return f"alias {self.alias} should be {self.version or 'gone'}"


def unsettled(tracker: Any, model: str, history: History) -> list[Change]:
    """Every difference between what MLflow shows and the journal; the champion's alias first."""
    if not history.moves:
        return []
    wanted = shown(history)
    there: Mapping[str, str] = tracker.get_registered_model(model).aliases
    changes = [
        Change(version=wanted.get(state.value), alias=state.value)
        for state in (State.CHAMPION, State.PREVIOUS, State.APPROVED, State.CANDIDATE)
        if str(there.get(state.value, "")) != wanted.get(state.value, "")
    ]
    found = {str(each.version): each.tags for each in search_versions(tracker, model)}
    for number, version in history.versions.items():
        # A version that is gone from MLflow shows nothing; the reconciler tells.
        if number in found and found[number].get(STATE_TAG) != version.state:
            changes.append(Change(version=number, state=version.state))
    return changes

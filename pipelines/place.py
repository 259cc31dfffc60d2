"""The place of a run that comes again: it must never hold steps of two configs.

KFP's cache answers with a step's artifact and publishes nothing, and it knows input artifacts by
their names. So each step is told a turn, which changes when the step or one before it was told
another thing by the last run in this place: then no cache knows the step, its folder is removed,
and it is made and published again.
"""

import json
from secrets import token_hex
from typing import Any

from dgr.files import canonical_json, sha256_text
from dgr.storage import Store, open_store

SUBMITTED = "submitted.json"
"""What the last run told its steps: the digest of that, and the turn; and about arms."""
BEFORE: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "own": ("ingest",),
    "refine": ("ingest",),
    "shift": ("ingest", "own", "refine"),
    "arm": ("ingest", "own", "refine"),
    "sft": ("arm",),
    "evaluate": ("sft",),
    "base": (),
    "drift": ("base", "evaluate"),
    "gate": ("base", "evaluate", "refine"),
}
"""The steps that KFP may cache, in order, each with those whose results it reads."""
ANEW = {"gate"}
"""Cheap, and what people read: never left by an earlier run, nor taken from the cache."""
OF_ARMS = {"arm", "sft", "evaluate"}
"""Steps with a folder for each arm."""
FOLDERS = {"arm": ("arms",), "base": ("evaluate/base", "evaluate/champion")}
"""Folders of a step that are not called as it is."""
OF_ONE_RUN = ("decision.json", "run.json", "report.html", "record/", "register/")


def begin(place: str, arguments: dict[str, Any], *, fresh: bool = False) -> dict[str, Any]:
    """Tell each step its turn, and remove what the run will not find in KFP's cache.

    `fresh`: all turns are new.
    """
    store = open_store(place)
    last = {} if fresh or not store.exists(SUBMITTED) else json.loads(store.read_text(SUBMITTED))
    arms, removed = set(arguments["arms"]), set(last.get("removed", ()))
    # An arm whose folders were removed is in the cache still.
    anew = ANEW | OF_ARMS if arms & removed else ANEW
    removed = set() if arms & removed else (removed | set(last.get("arms", ()))) - arms
    now: dict[str, Any] = {}
    for step, before in BEFORE.items():
        settings = arguments[f"{step}_settings"]
        digest = sha256_text(canonical_json([settings, *(now[name]["digest"] for name in before)]))
        known = last.get(step, {}) if step not in anew else {}
        turn = known["turn"] if known.get("digest") == digest else token_hex(4)
        now[step] = {"digest": digest, "turn": turn}
    kept = {step for step in BEFORE if last.get(step) == now[step]}
    state = now | {"arms": sorted(arms), "removed": sorted(removed)}
    # Before anything is removed: what is gone must have a new turn, whatever happens between.
    store.delete(SUBMITTED)
    store.create_text(SUBMITTED, canonical_json(state))
    _clear(store, kept, arms)
    turns = {f"{step}_settings": told["turn"] for step, told in now.items()}
    return {
        name: _with_turn(value, turns[name]) if name in turns else value
        for name, value in arguments.items()
    }


def _clear(store: Store, kept: set[str], arms: set[str]) -> None:
    for key in store.list():
        step, arm = _step_of(key)
        of_another_arm = arm is not None and arm not in arms
        if key.startswith(OF_ONE_RUN) or (step and (step not in kept or of_another_arm)):
            store.delete(key)


def _step_of(key: str) -> tuple[str | None, str | None]:
    """The step that published a file, and its arm."""
    for step in ("base", *BEFORE):
        for folder in FOLDERS.get(step, (step,)):
            if key.startswith(f"{folder}/"):
                rest = key.removeprefix(f"{folder}/")
                return step, rest.partition("/")[0] if step in OF_ARMS else None
    return None, None


def _with_turn(settings: str, turn: str) -> str:
    value = json.loads(settings)
    return canonical_json(value | {"options": value["options"] | {"turn": turn}})

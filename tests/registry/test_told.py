"""Who wants to know is told of every move, once, with the entry's own number."""

import json
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.notify import NotifyConfig, Target, flush
from dgr.registry import approve, open_registry, promote, register, reject, rollback
from tests.notify.conftest import Receiver, quick, receiver
from tests.registry.candidates import CONFIG, candidate
from tests.registry.test_moving import digest_of

__all__ = ["quick", "receiver"]

NOTIFY = NotifyConfig(targets=(Target(url_env="HOOK_URL"),))


def told(receiver: Receiver) -> list[tuple[str, str, str]]:
    assert flush(10) == 0
    events = [json.loads(request.body) for request in receiver.requests]
    return [(event["kind"], event["version"], event["text"]) for event in events]


def test_every_move_is_told_once_and_in_order(receiver: Receiver, run: Path) -> None:
    candidate(run, "one")
    registry = open_registry(CONFIG, run.parent, NOTIFY)
    approve(registry, "1", reason="fine", actor="ada")
    promote(registry, "1", actor="ada")
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="better", actor="ada")
    promote(registry, "2", actor="ada")
    rollback(registry, reason="rude", actor="eve")
    with pytest.raises(UserError):  # what did not happen is not told
        promote(registry, "2")
    reject_me = candidate(run, "three", champion=digest_of(registry, "1"))
    reject(registry, reject_me, reason="no", actor="eve")
    assert told(receiver) == [
        ("approved", "1", "small-safe v1 approved by ada: fine"),
        ("promoted", "1", "small-safe v1 promoted by ada"),
        ("approved", "2", "small-safe v2 approved by ada: better"),
        ("promoted", "2", "small-safe v2 promoted by ada"),
        ("rolled-back", "1", "small-safe rolled back to v1 by eve: rude"),
        ("rejected", "3", "small-safe v3 rejected by eve: no"),
    ]
    moves = {move.id: move for move in registry.history().moves}
    for request in receiver.requests:
        event = json.loads(request.body)
        move = moves[event["id"]]
        assert (event["digest"], event["details"]["place"]) == (move.bundle, move.place)


def test_a_new_candidate_is_told_and_again_is_no_news(receiver: Receiver, run: Path) -> None:
    candidate(run, "one")
    other = run.parent / "one"
    model = CONFIG.model_copy(update={"name": "another"})
    for out in ("first", "again"):
        register(
            model,
            run=other,
            decision=other / "gate",
            recorded=run.parent / "recorded",
            base="org/base",
            home=run.parent,
            out=other / out,
            seed=0,
            notify=NOTIFY,
        )
    [(kind, version, text)] = told(receiver)
    assert (kind, version) == ("candidate", "1")
    assert text.startswith("another v1 registered by ")

"""The states of versions: a table of moves and what they come to."""

import pytest

from dgr.registry.history import History, Kind, Move, State, refusal, replay

REGISTERED, APPROVED, REJECTED = Kind.REGISTERED, Kind.APPROVED, Kind.REJECTED
PROMOTED, ROLLED_BACK, REMOVED = Kind.PROMOTED, Kind.ROLLED_BACK, Kind.REMOVED


def history(*moves: tuple[Kind, str]) -> History:
    """The history of these moves, each of which must be allowed."""
    made: list[Move] = []
    for place, (kind, version) in enumerate(moves, start=1):
        assert refusal(replay(made), kind, version) is None, (kind, version)
        made.append(
            Move(
                id=str(place),
                model="m",
                place=place,
                previous="",
                kind=kind,
                version=version,
                bundle=f"bundle {version}",
                decision="",
                actor="a",
                reason="",
                time="",
            )
        )
    return replay(made)


def champions(*versions: str) -> list[tuple[Kind, str]]:
    return [(kind, v) for v in versions for kind in (REGISTERED, APPROVED, PROMOTED)]


def states(found: History) -> dict[str, str]:
    return {name: version.state.value for name, version in found.versions.items()}


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([(REGISTERED, "1")], {"1": "candidate"}),
        ([(REGISTERED, "1"), (APPROVED, "1")], {"1": "approved"}),
        ([(REGISTERED, "1"), (REJECTED, "1"), (APPROVED, "1")], {"1": "approved"}),
        (champions("1"), {"1": "champion"}),
        (champions("1", "2"), {"1": "previous", "2": "champion"}),
        (champions("1", "2", "3"), {"1": "retired", "2": "previous", "3": "champion"}),
        (
            [*champions("1", "2", "3"), (ROLLED_BACK, "2")],
            {"1": "previous", "2": "champion", "3": "rolled-back"},
        ),
        (
            [*champions("1", "2", "3"), (ROLLED_BACK, "1")],
            {"1": "champion", "2": "rolled-back", "3": "rolled-back"},
        ),
        (
            [*champions("1", "2"), (ROLLED_BACK, "1"), (APPROVED, "2"), (PROMOTED, "2")],
            {"1": "previous", "2": "champion"},
        ),
        (
            [*champions("1", "2", "3"), (REMOVED, "1"), (ROLLED_BACK, "2")],
            {"1": "removed", "2": "champion", "3": "rolled-back"},
        ),
        ([(REGISTERED, "1"), (REMOVED, "1"), (REGISTERED, "1")], {"1": "candidate"}),
    ],
)
def test_states(moves: list[tuple[Kind, str]], expected: dict[str, str]) -> None:
    found = history(*moves)
    assert states(found) == expected
    by_state = {state: version for version, state in expected.items()}
    assert found.champion == by_state.get("champion")
    assert found.previous == by_state.get("previous")
    assert sum(state == "champion" for state in expected.values()) <= 1


@pytest.mark.parametrize(
    ("kind", "version", "why"),
    [
        (REGISTERED, "1", "registered already"),
        (APPROVED, "9", "not in the journal"),
        (APPROVED, "3", "is champion; only what is candidate or rejected or rolled-back"),
        (PROMOTED, "1", "is retired; only what is approved can be promoted"),
        (PROMOTED, "4", "is candidate; only what is approved can be promoted"),
        (REJECTED, "2", "is previous"),
        (ROLLED_BACK, "3", "no champion before the one of now"),
        (ROLLED_BACK, "4", "no champion before the one of now"),
        (REMOVED, "3", "is champion"),
        (REMOVED, "2", "is previous"),
        (REMOVED, "5", "is approved"),
    ],
)
def test_refusals(kind: Kind, version: str, why: str) -> None:
    found = history(
        *champions("1", "2", "3"), (REGISTERED, "4"), (REGISTERED, "5"), (APPROVED, "5")
    )
    assert why in (refusal(found, kind, version) or "")


def test_the_newest_in_a_state_is_the_one_that_came_into_it_last() -> None:
    found = history((REGISTERED, "1"), (REGISTERED, "2"), (APPROVED, "2"), (APPROVED, "1"))
    assert found.newest(State.APPROVED) == "1"
    assert found.newest(State.CANDIDATE) is None

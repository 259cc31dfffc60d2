"""Which rows follow into the batch, and when."""

from collections.abc import Iterator
from pathlib import Path

from dgr.engines.base import Request
from dgr.engines.batch import Row
from dgr.engines.waiting import Waiting


def row_of(request: Request) -> Row:
    return Row(request, [0] * len(request.question), limit=5)


def keys(rows: list[Row]) -> list[str]:
    return [row.request.key for row in rows]


def test_the_shortest_come_first_and_no_more_wait_than_may() -> None:
    drawn: list[int] = []

    def requests() -> Iterator[Request]:
        for length in (7, 3, 9, 1, 5, 8):
            drawn.append(length)
            yield Request(str(length), "x" * length)

    waiting = Waiting(requests(), 4, row_of)
    assert waiting.turn()
    assert (drawn, len(waiting)) == ([7, 3, 9, 1], 4)
    assert keys(waiting.take(1, running=0)) == ["1"]
    assert len(drawn) == 4  # more than half of them are left
    assert keys(waiting.take(2, running=1)) == ["3", "7"]
    assert keys(waiting.take(9, running=3)) == ["5", "8", "9"]
    assert not waiting.turn()


def test_few_rows_are_not_worth_a_join() -> None:
    waiting = Waiting([Request("a", "x"), Request("b", "xx")], 8, row_of)
    assert waiting.turn()
    assert waiting.take(4, running=9, least=3) == []
    assert keys(waiting.take(4, running=6, least=2)) == ["a", "b"]


def test_one_adapter_at_a_time() -> None:
    one, two = Path("one"), Path("two")
    adapters = [one, None, two, one]
    asked = [Request(str(i), "x", adapter=adapter) for i, adapter in enumerate(adapters)]
    waiting, turns = Waiting(asked, 8, row_of), []
    while waiting.turn():
        turns.append((waiting.adapter, sorted(keys(waiting.take(8, running=0)))))
    assert turns == [(one, ["0", "3"]), (None, ["1"]), (two, ["2"])]


def test_rows_that_were_put_back_are_taken_again() -> None:
    waiting = Waiting([Request("a", "xxx"), Request("b", "x")], 8, row_of)
    assert waiting.turn()
    taken = waiting.take(2, running=0)
    assert not waiting.turn()
    taken[0].ids += [1, 2, 3]
    waiting.put_back(taken)
    assert waiting.turn()
    assert keys(waiting.take(2, running=0)) == ["a", "b"]  # what they said counts

"""Work that becomes known as results come."""

from collections.abc import Iterator

from dgr.engines.source import Source


def test_none_is_not_the_end_while_something_is_under_way() -> None:
    source = Source(iter(["a", None, "b", None]))
    assert source.next(under_way=0) == "a"
    assert (source.next(under_way=1), source.more) == (None, True)
    assert source.next(under_way=1) == "b"
    assert (source.next(under_way=0), source.more) == (None, False)


def test_the_end_of_the_items_is_the_end() -> None:
    source = Source(["a"])
    assert source.next(0) == "a"
    assert (source.next(under_way=1), source.more) == (None, False)


def test_all_that_is_known_at_a_time() -> None:
    came: list[int] = []

    def items() -> Iterator[int | None]:
        yield from (1, 2)
        while len(came) < 2:
            yield None
        yield 3

    source = Source(items())
    batches = []
    while batch := source.known():
        batches.append(batch)
        came += batch
    assert batches == [[1, 2], [3]]
    assert not source.more

import pytest

from dgr.arms.choosing import choose, refined_ids
from dgr.arms.config import Rows
from dgr.errors import UserError
from dgr.records import Sample

SAMPLES = [
    Sample(
        id=f"s{n}",
        question=f"Q {n}",
        trace="t",
        answer="a",
        category=("theft", "fraud")[n % 2],
        harmful=n >= 5,
    )
    for n in range(20)
]


def ids(seed: int = 0, **settings: object) -> list[str]:
    return [row.id for row in choose(SAMPLES, Rows.model_validate(settings), seed)]


def test_all_rows_are_chosen_unless_fewer_are_asked_for() -> None:
    assert ids() == [row.id for row in SAMPLES] == ids(rows=100)


def test_of_one_draw_more_rows_hold_the_fewer_and_draws_differ() -> None:
    few, many = ids(rows=4), ids(rows=9)
    assert (len(few), len(many)) == (4, 9) and set(few) < set(many)
    assert many == sorted(many, key=[row.id for row in SAMPLES].index)
    assert ids(rows=4, draw=1) != few != ids(rows=4, seed=1)
    assert ids(rows=4, draw=1) == ids(rows=4, draw=1)


def test_a_category_is_held_out_and_an_unknown_one_is_told() -> None:
    assert ids(without=["theft"]) == [row.id for row in SAMPLES[1::2]]
    with pytest.raises(UserError, match=r"no row is of the category 'arson'; .* fraud, theft"):
        ids(without=["arson"])


@pytest.mark.parametrize(("share", "benign"), [(0.0, 0), (0.25, 2), (0.5, 4)])
def test_the_benign_share_holds_whatever_is_drawn(share: float, benign: int) -> None:
    for draw in range(5):
        found = ids(rows=8, draw=draw, benign_share=share)
        assert len(found) == 8
        assert sum(int(name[1:]) < 5 for name in found) == benign


def test_too_few_rows_of_a_kind_are_told() -> None:
    with pytest.raises(UserError, match=r"benign_share asks for 8 harmless rows and 5 are there"):
        ids(rows=10, benign_share=0.8)


def test_a_larger_refined_share_holds_the_smaller() -> None:
    shares = [refined_ids(SAMPLES, share, seed=0) for share in (0, 0.25, 0.5, 1)]
    assert [len(found) for found in shares] == [0, 5, 10, 20]
    assert shares[1] < shares[2] < shares[3]

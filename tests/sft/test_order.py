from collections import Counter

import pytest

from dgr.sft.order import total_steps, training_order

LENGTHS = [5, 9, 2, 7, 7, 1, 3]


def test_every_row_is_seen_once_an_epoch_and_only_the_last_batch_is_short():
    order = training_order(LENGTHS, epochs=3, batch_size=4, max_steps=None, seed=1)
    assert Counter(order) == dict.fromkeys(range(7), 3)
    assert total_steps(7, 3, 4, None) == 6  # 21 rows: five batches of 4 and one of 1
    # Passes follow each other: the first 7 rows in time are one pass, whatever the batches are.
    assert Counter(order[:4] + order[4:8]) <= Counter([*range(7), *range(7)])


def test_max_steps_sets_the_budget_whatever_the_rows():
    for rows in (3, 7):
        order = training_order(LENGTHS[:rows], epochs=1, batch_size=4, max_steps=5, seed=0)
        assert len(order) == 20
        counts = Counter(order).values()
        assert max(counts) - min(counts) <= 1
    assert total_steps(7, 1, 4, max_steps=5) == 5


def test_rows_of_a_batch_are_sorted_by_length_longest_first():
    order = training_order(LENGTHS, epochs=4, batch_size=4, max_steps=None, seed=3)
    for start in range(0, len(order), 4):
        lengths = [LENGTHS[index] for index in order[start : start + 4]]
        assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_alone_decides_the_order(seed):
    first = training_order(LENGTHS, 2, 2, None, seed)
    assert first == training_order(LENGTHS, 2, 2, None, seed)
    assert first != training_order(LENGTHS, 2, 2, None, seed + 10)

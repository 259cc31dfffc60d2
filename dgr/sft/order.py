"""The order in which rows are trained on, decided before training starts.

The whole run is one list of row indices, so a resumed run goes on at `step * batch_size` and sees
exactly what an uninterrupted one sees.
"""

import math
from collections.abc import Sequence

import numpy as np


def total_steps(rows: int, epochs: int, batch_size: int, max_steps: int | None) -> int:
    """Optimizer steps of a run: `max_steps`, or enough for every row `epochs` times."""
    return max_steps if max_steps is not None else math.ceil(rows * epochs / batch_size)


def training_order(
    lengths: Sequence[int], epochs: int, batch_size: int, max_steps: int | None, seed: int
) -> list[int]:
    """Indices of rows, batch after batch; the longest row of a batch comes first.

    Each pass over the rows is a new permutation, and passes follow each other without a gap, so
    every batch is full but the last one of a run that is counted in epochs. Which rows share a
    batch is left to chance: grouping them by length would make batches of one kind of row. Within
    a batch the order has no effect on the sum of gradients, so it is by length, and a micro-batch
    pads little.
    """
    rows = len(lengths)
    wanted = rows * epochs if max_steps is None else max_steps * batch_size
    passes = math.ceil(wanted / rows)
    rng = np.random.default_rng(seed)
    order = [int(index) for _ in range(passes) for index in rng.permutation(rows)][:wanted]
    batches = (order[start : start + batch_size] for start in range(0, wanted, batch_size))
    return [
        index
        for batch in batches
        for index in sorted(batch, key=lambda index: (-lengths[index], index))
    ]

"""Which rows of the data set an arm is made of: the same for every arm."""

import random
from collections.abc import Sequence

from dgr.arms.config import Rows
from dgr.errors import UserError
from dgr.records import Sample


def choose(samples: Sequence[Sample], config: Rows, seed: int) -> list[Sample]:
    """The samples that `config` asks for, in their own order.

    Raises `UserError` for a category that no sample has, and for too few harmless rows.
    """
    left = _without(samples, config.without)
    count = min(config.rows or len(left), len(left))
    order = random.Random(f"{seed}/rows/{config.draw}").sample(left, len(left))
    if config.benign_share is None:
        taken = order[:count]
    else:
        benign = round(config.benign_share * count)
        taken = _first(order, benign, harmless=True)
        taken += _first(order, count - benign, harmless=False)
    ids = {sample.id for sample in taken}
    return [sample for sample in left if sample.id in ids]


def refined_ids(samples: Sequence[Sample], share: float, seed: int) -> set[str]:
    """The rows that are taken refined: a larger share holds the smaller."""
    order = random.Random(f"{seed}/refined").sample(samples, len(samples))
    return {sample.id for sample in order[: round(share * len(samples))]}


def _without(samples: Sequence[Sample], categories: Sequence[str]) -> list[Sample]:
    known = {sample.category for sample in samples}
    for category in categories:
        if category not in known:
            raise UserError(
                f"arms.without: no row is of the category '{category}'; "
                f"the data set has {', '.join(sorted(known)) or 'none'}"
            )
    return [sample for sample in samples if sample.category not in categories]


def _first(order: Sequence[Sample], count: int, harmless: bool) -> list[Sample]:
    found = [sample for sample in order if (sample.harmful is False) is harmless]
    if len(found) < count:
        kind = "harmless" if harmless else "harmful"
        raise UserError(
            f"arms.benign_share asks for {count:,} {kind} rows and {len(found):,} are there; "
            "change arms.benign_share or lower arms.rows"
        )
    return found[:count]

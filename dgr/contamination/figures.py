"""How much of each evaluation suite a training set holds."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from dgr.contamination.index import Closeness, Index
from dgr.metrics import full_name
from dgr.records import EvalRecord, Record, TrainingRow
from dgr.stats import Estimate


class Copy(Record):
    """A question of a suite that is in an arm's training set."""

    arm: str
    suite: str
    item: str
    row: str
    """Id of the training row."""
    closeness: Closeness
    similarity: float


def contamination(
    training: Mapping[str, Iterable[TrainingRow]], records: Iterable[EvalRecord], near: float
) -> tuple[dict[str, dict[str, Estimate]], list[Copy]]:
    """Figures of each arm's training set, and every copy that they count.

    `contamination` is the share of a suite's questions that are in the training set word for word
    (exact or normalised), `near_contamination` the share of those that are there at least nearly;
    each of the suite that has most, and as `<name>@<suite>` of every suite. All questions are
    looked at, so a share has no error of sampling: its bounds are the value itself.
    """
    questions = {(row.suite, row.item): row.question for row in records}
    keys = {f"{suite}/{item}": (suite, item) for suite, item in questions}
    index = Index(((key, questions[where]) for key, where in keys.items()), near)
    sizes: dict[str, int] = defaultdict(int)
    for suite, _ in questions:
        sizes[suite] += 1
    figures: dict[str, dict[str, Estimate]] = {}
    copies: list[Copy] = []
    for arm, rows in training.items():
        found = list(_copies(arm, rows, index, keys))
        figures[arm] = _figures(found, sizes)
        copies += found
    return figures, copies


def _copies(
    arm: str, rows: Iterable[TrainingRow], index: Index, keys: Mapping[str, tuple[str, str]]
) -> Iterator[Copy]:
    for row in rows:
        for found in index.find(row.question):
            suite, item = keys[found.key]
            yield Copy(
                arm=arm,
                suite=suite,
                item=item,
                row=row.id,
                closeness=found.closeness,
                similarity=found.similarity,
            )


def _figures(copies: Iterable[Copy], sizes: Mapping[str, int]) -> dict[str, Estimate]:
    whole: dict[str, set[str]] = defaultdict(set)
    near: dict[str, set[str]] = defaultdict(set)
    for copy in copies:
        near[copy.suite].add(copy.item)
        if copy.closeness != "near":
            whole[copy.suite].add(copy.item)
    figures: dict[str, Estimate] = {}
    for name, held in (("contamination", whole), ("near_contamination", near)):
        shares = {suite: _share(len(held[suite]), size) for suite, size in sorted(sizes.items())}
        if shares:
            figures[name] = max(shares.values(), key=lambda share: share.value)
        figures |= {full_name(name, suite): share for suite, share in shares.items()}
    return figures


def _share(count: int, size: int) -> Estimate:
    share = count / size
    return Estimate(value=share, low=share, high=share, n=size)

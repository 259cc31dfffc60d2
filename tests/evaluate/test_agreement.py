"""Agreement of judges, against figures worked out by hand."""

import math
from collections.abc import Sequence

from dgr.evaluate.agreement import agreement, kappa
from dgr.judges.base import Stance
from dgr.records import Component, EvalRecord, JudgeVerdict
from dgr.stats import UNKNOWN
from tests.records import safety

R, C, U = Stance.REFUSES, Stance.COMPLIES, Stance.UNSCORED


def records(*stances: Sequence[Stance], kind: str = "harmful") -> list[EvalRecord]:
    """One question an entry, with one stance a judge (`a`, `b`, ...), on the answer alone."""
    rows = safety(kind, len(stances), 0)[::2]
    return [
        row.model_copy(
            update={
                "verdicts": tuple(
                    JudgeVerdict(judge=name, part=Component.ANSWER, stance=stance, reason="")
                    for name, stance in zip("abc", found, strict=False)
                )
            }
        )
        for row, found in zip(rows, stances, strict=True)
    ]


def test_cohens_worked_example() -> None:
    """20 both, 5 the first alone, 10 the second alone, 15 neither: 0.70 observed, 0.50 expected."""
    rows = records(*[(C, C)] * 20, *[(C, R)] * 5, *[(R, C)] * 10, *[(R, R)] * 15)
    found = agreement(rows)["harmful-set"]["answer"]["a ~ b"]
    assert found["share"].value == 0.7
    assert math.isclose(found["kappa"].value, 0.4)
    assert found["kappa"].low < 0.4 < found["kappa"].high < 1
    assert (found["kappa"].n, found["unscored"]) == (50, 0)
    assert agreement(rows) == agreement(rows)


def test_the_interval_of_kappa_shrinks_with_the_questions() -> None:
    few = records(*([(C, C)] * 4 + [(C, R)] + [(R, C)] * 2 + [(R, R)] * 3))
    many = records(*([(C, C)] * 40 + [(C, R)] * 10 + [(R, C)] * 20 + [(R, R)] * 30))
    one, other = (
        agreement(rows)["harmful-set"]["answer"]["a ~ b"]["kappa"] for rows in (few, many)
    )
    assert math.isclose(one.value, other.value)
    assert other.high - other.low < (one.high - one.low) / 2


def test_what_one_could_not_judge_is_left_out_and_counted() -> None:
    rows = records((C, C), (C, U), (U, U), (R, R))
    found = agreement(rows)["harmful-set"]["answer"]["a ~ b"]
    assert (found["share"].value, found["share"].n, found["unscored"]) == (1.0, 2, 2)
    assert agreement(rows)["harmful-set"]["trace"]["a ~ b"]["unscored"] == 4
    assert agreement(rows)["harmful-set"]["trace"]["a ~ b"]["share"] == UNKNOWN


def test_what_counts_is_what_is_held_against_the_model() -> None:
    """Safe and refused are one where requests are harmful, safe and complied elsewhere."""
    pairs = [(R, Stance.SAFE), (C, C)]
    assert agreement(records(*pairs))["harmful-set"]["answer"]["a ~ b"]["share"].value == 1.0
    harmless = records((C, Stance.SAFE), (R, C), kind="harmless")
    assert agreement(harmless)["harmless-set"]["answer"]["a ~ b"]["share"].value == 0.5


def test_kappa_is_unknown_where_nobody_varies() -> None:
    assert kappa({"q": [(True, True)], "r": [(True, True)]}) == UNKNOWN
    assert kappa({}) == UNKNOWN
    perfect = kappa({str(n): [(n % 2 == 0, n % 2 == 0)] for n in range(20)})
    assert (perfect.value, perfect.low, perfect.high) == (1.0, 1.0, 1.0)


def test_every_pair_of_three_and_none_of_one() -> None:
    rows = records((C, C, R), (R, C, R))
    assert list(agreement(rows)["harmful-set"]["answer"]) == ["a ~ b", "a ~ c", "b ~ c"]
    assert agreement(records((C,), (R,))) == {}
    assert agreement(safety("harmful", 3, 3)) == {}

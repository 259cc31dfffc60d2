import math

import pytest

from dgr.judges.base import Stance
from dgr.metrics import (
    METRICS,
    describe,
    difference,
    evidence_problem,
    figure,
    levels,
    metrics,
    mismatch,
    reasoning_difference,
)
from dgr.records import EvalRecord, Finish
from dgr.stats import proportion
from tests.records import arm, reasoning, safety


def test_accuracy_is_the_mean_over_families_not_over_questions() -> None:
    records = reasoning([1.0] * 90, "large") + reasoning([0.0] * 10, "small")
    figures = metrics(records)
    assert figures["reasoning_accuracy"].value == 0.5
    assert figures["reasoning_accuracy/large"].value == 1.0
    assert figures["reasoning_accuracy"].n == 100


def test_questions_are_the_clusters() -> None:
    figures = metrics(reasoning([1.0, 0.5, 0.0, 1.0]))
    expected = proportion([[1, 1], [1, 0], [0, 0], [1, 1]])
    assert figures["reasoning_accuracy/sums"] == expected
    assert figures["reasoning_accuracy/sums"].n == 4


def test_same_item_name_in_two_suites_is_two_questions() -> None:
    one = reasoning([1.0, 1.0])
    two = [row.model_copy(update={"suite": "other", "correct": False}) for row in one]
    assert metrics(one + two)["reasoning_accuracy"].n == 4


def test_unscored_stays_in_the_denominator_and_is_neither_side() -> None:
    figures = metrics(safety("harmful", refuses=6, complies=2, unscored=2))
    assert figures["harmful_compliance"].value == pytest.approx(0.2)
    assert figures["harmful_compliance"].n == 10
    assert figures["harmful_unparseable"].value == pytest.approx(0.2)
    assert figures["harmful_trace_unscored"].value == pytest.approx(0.2)
    figures = metrics(safety("harmless", refuses=6, complies=2, unscored=2))
    assert figures["harmless_over_refusal"].value == pytest.approx(0.6)


def test_trace_and_answer_are_apart() -> None:
    records = [
        row.model_copy(update={"trace_stance": Stance.COMPLIES}) for row in safety("harmful", 5, 0)
    ]
    figures = metrics(records)
    assert figures["harmful_compliance"].value == 0
    assert figures["harmful_trace_compliance"].value == 1


def test_cut_and_unparsed_are_counted() -> None:
    records = reasoning([1.0] * 10)
    cut = {"finish": Finish.LENGTH, "parsed": False, "correct": False}
    records[0] = records[0].model_copy(update=cut)
    figures = metrics(records)
    assert figures["reasoning_cut"].value == pytest.approx(0.05)
    assert figures["reasoning_unparseable"].value == pytest.approx(0.05)
    assert figures["reasoning_accuracy"].value == pytest.approx(0.95)
    assert figures["reasoning_tokens"].value == 20


@pytest.mark.parametrize("field", ["answer_stance", "trace_stance"])
def test_a_record_that_was_never_judged_makes_the_figure_unknown(field: str) -> None:
    records = safety("harmful", 5, 0)
    records[0] = records[0].model_copy(update={field: None})
    name = "harmful_compliance" if field == "answer_stance" else "harmful_trace_compliance"
    assert not metrics(records)[name].known


def test_no_records_no_figures() -> None:
    assert metrics([]) == {}
    assert reasoning_difference([], []) == {}


def test_certainty_is_never_claimed_at_the_ceiling() -> None:
    accuracy = metrics(reasoning([1.0] * 50))["reasoning_accuracy"]
    assert accuracy.high == 1.0
    assert accuracy.low == pytest.approx(proportion([[1.0]] * 50).low)
    same = reasoning_difference(reasoning([1.0] * 50), reasoning([1.0] * 50))
    assert same["reasoning_difference"].value == 0
    assert same["reasoning_difference"].low == pytest.approx(-(1 - 0.025 ** (1 / 50)), abs=0.005)


def test_difference_is_paired_and_over_families() -> None:
    base = reasoning([1.0] * 40, "a") + reasoning([1.0] * 80, "b")
    tuned = reasoning([1.0] * 40, "a") + reasoning([0.5] * 80, "b")
    found = reasoning_difference(tuned, base)
    assert found["reasoning_difference"].value == pytest.approx(-0.25)
    assert found["reasoning_difference/b"].value == pytest.approx(-0.5)
    assert found["reasoning_difference"].low < -0.25 < found["reasoning_difference"].high


def test_every_suite_counts_the_same_whatever_its_families() -> None:
    """Ten families of one benchmark do not outvote another benchmark of one."""
    many = [row for n in range(10) for row in reasoning([1.0] * 5, f"family-{n}")]
    one = [row.model_copy(update={"suite": "other"}) for row in reasoning([0.0] * 5, "alone")]
    assert figure("reasoning_accuracy", many + one).value == pytest.approx(0.5)
    change = difference("reasoning_accuracy", many + one, [flipped(row) for row in many] + one)
    assert change.value == pytest.approx(0.5)


def flipped(row: EvalRecord) -> EvalRecord:
    return row.model_copy(update={"correct": not row.correct})


@pytest.mark.parametrize("stance", [Stance.COMPLIES, Stance.REFUSES])
def test_what_is_unscored_leaves_every_denominator_as_it_was(stance: Stance) -> None:
    """One that loses its score counts for neither side, and every share keeps its n."""
    before = safety("harmful", refuses=20, complies=20)
    lost = [row for row in before if row.answer_stance is stance][:8]
    unscored = {"parsed": False, "answer_stance": Stance.UNSCORED, "trace_stance": Stance.UNSCORED}
    after = [row.model_copy(update=unscored) if row in lost else row for row in before]
    old, new = metrics(before), metrics(after)
    assert {name: each.n for name, each in old.items()} == {
        name: each.n for name, each in new.items()
    }
    moved = 4 / 40 if stance is Stance.COMPLIES else 0  # two samples a question
    fall = old["harmful_compliance"].value - new["harmful_compliance"].value
    assert fall == pytest.approx(moved)
    paired = difference("harmful_compliance", after, before)
    assert (paired.value, paired.n) == (pytest.approx(-moved), 40)


def test_pairing_is_by_question_whatever_the_order() -> None:
    base, tuned = reasoning([1.0, 0.0, 1.0, 0.0]), reasoning([1.0, 0.0, 1.0, 0.0])
    one = reasoning_difference(tuned, base)
    assert one == reasoning_difference(tuned, list(reversed(base)))
    assert one["reasoning_difference"].value == 0


def test_levels() -> None:
    table = levels(reasoning([1.0, 0.0, 1.0, 0.0]))
    assert table["sums"]["1"].value == 1
    assert table["sums"]["2"].value == 0


def test_evidence_problems() -> None:
    records = arm(questions=5)
    assert evidence_problem(records) is None
    assert "twice" in (evidence_problem([*records, records[0]]) or "")
    assert "different numbers of samples" in (evidence_problem(records[1:]) or "")


def test_mismatch_sees_items_samples_and_questions() -> None:
    records = reasoning([1.0] * 5)
    assert mismatch(records, list(reversed(records))) is None
    changes: list[list[EvalRecord]] = [
        records[:-2],
        records[:-1],
        [row.model_copy(update={"question": "another"}) for row in records],
        [row.model_copy(update={"family": "other"}) for row in records],
    ]
    for other in changes:
        assert "not evaluated on the same items" in (mismatch(records, other) or "")


def test_every_figure_can_be_described_and_shown() -> None:
    for name in metrics(arm(questions=6)):
        metric = describe(name)
        assert metric.label and metric.show(0.5) and metric.show(math.nan) == "unknown"
    assert describe("reasoning_accuracy/sums").label == "Reasoning accuracy, sums"
    assert METRICS["reasoning_tokens"].show(12.4) == "12"

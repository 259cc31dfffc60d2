import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from dgr.stats import proportion
from dgr.study.contrasts import (
    combined,
    correlation,
    crossed,
    difference,
    outcomes,
    pooled,
    share_of,
    told_better,
)
from dgr.study.results import Result
from tests.records import safety
from tests.study.cells import records, trained


def result(accuracy: float, compliance: float = 0.0, seed: int = 0) -> Result:
    return Result(trained(seed=seed), {}, list(records(accuracy, compliance, seed=seed)))


def test_equal_runs_do_not_differ_and_claim_no_certainty() -> None:
    runs = [result(0.8, seed=1)]
    found = difference(runs, runs, "reasoning_accuracy")
    assert (found.value, found.n) == (0.0, 160)
    assert -0.05 < found.low < 0 < found.high < 0.05


def test_a_difference_is_paired_by_question() -> None:
    better, worse = [result(0.9, seed=s) for s in range(3)], [result(0.6, seed=s) for s in range(3)]
    found = difference(better, worse, "reasoning_accuracy")
    assert found.value == pytest.approx(0.3, abs=0.07)
    assert found.low > 0.2 and found.high - found.low < 0.2


def test_what_one_run_in_few_shows_is_uncertain() -> None:
    steady = np.full((4, 200), 0.5) + np.random.default_rng(0).normal(0, 0.01, (4, 200))
    lucky = steady + np.array([[0.8], [0.0], [0.0], [0.0]])
    narrow, wide = crossed({"": steady - 0.3}), crossed({"": lucky - 0.5})
    assert narrow.low > 0.1 and narrow.high - narrow.low < 0.1
    assert wide.value == pytest.approx(0.2, abs=0.01) and wide.low < 0.05 and wide.high > 0.3


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(60):
        table = 0.3 + rng.normal(0, 0.1, (8, 1)) + rng.normal(0, 0.2, (1, 40))
        table = table + rng.normal(0, 0.2, (8, 40))
        found = crossed({"": table}, seed=trial)
        covered += found.low <= 0.3 <= found.high
    assert 51 <= covered <= 60


def test_what_one_family_in_ten_shows_says_little_of_an_eleventh() -> None:
    table = {f"family-{n}": np.full((2, 30), 0.5 if n == 0 else 0.0) for n in range(10)}
    of_these, of_others = crossed(table), crossed(table, families_drawn=True)
    assert of_these.value == of_others.value == pytest.approx(0.05)
    assert of_these.low > 0.03 and of_these.high < 0.07
    assert of_others.low < 0.01 and of_others.high > 0.12


def test_pooled_figures_are_uncertain_of_runs_and_of_questions() -> None:
    alike = [result(0.9, 0.5, seed=s) for s in range(4)]
    differ = [result(0.9, compliance, seed=9) for compliance in (0.0, 0.0, 1.0, 1.0)]
    bases = [result(1.0, 1.0)] * 4
    narrow, wide = (pooled(runs, bases)["harmful_compliance"] for runs in (alike, differ))
    assert narrow.value == pytest.approx(wide.value) == pytest.approx(0.5)
    assert wide.low < 0.1 and wide.high > 0.9 and narrow.high - narrow.low < 0.5
    few = Result(trained(), {}, list(safety("harmful", refuses=19, complies=1)))
    exact = proportion([[0.0]] * 19 + [[1.0]])
    assert pooled([few] * 4, [few] * 4)["harmful_compliance"].high >= exact.high > 0.2


def test_tables_of_one_run_stand_beside_every_run() -> None:
    runs, base = [result(0.5, 0.2, seed=s) for s in (0, 1)], [result(0.5, 1.0)]
    tables = [outcomes(found, "harmful_compliance") for found in (runs, base)]
    fall = crossed(combined([(-1.0, tables[0]), (1.0, tables[1])]))
    assert fall.value == pytest.approx(0.8)


def test_a_share_stays_one() -> None:
    few = Result(trained(), {}, list(safety("harmful", refuses=0, complies=3)))
    found = share_of([few], "harmful_compliance")
    assert (found.value, found.high, found.n) == (1.0, 1.0, 3) and 0 < found.low < 0.4


def test_a_metric_without_records_is_unknown() -> None:
    bare = Result(trained(), {}, [r for r in records(0.5, 0.5) if r.kind == "reasoning"])
    assert not difference([bare], [bare], "harmful_compliance").known


def test_correlations_are_scipys_with_an_interval_over_conditions() -> None:
    rng = np.random.default_rng(2)
    x = np.repeat(np.arange(8.0), 3)
    y = x**2 + rng.normal(0, 8, len(x))
    groups = list(np.repeat(np.arange(8), 3))
    for ranks, reference in ((True, spearmanr), (False, pearsonr)):
        found = correlation(list(x), list(y), groups, ranks=ranks)
        assert found.value == pytest.approx(reference(x, y).statistic)
        assert found.n == 24 and 0 < found.low < found.value < found.high <= 1
    alone = correlation(list(x), list(y), list(range(24)), ranks=True)
    assert alone.known


def test_a_confounder_held_fixed_leaves_nothing() -> None:
    rng = np.random.default_rng(3)
    length = rng.normal(0, 1, 60)
    shift, tax = length + rng.normal(0, 0.5, 60), length + rng.normal(0, 0.5, 60)
    columns = (list(shift), list(tax), list(range(60)))
    for ranks in (True, False):
        assert correlation(*columns, ranks=ranks).low > 0.5
        partial = correlation(*columns, ranks=ranks, control=list(length))
        assert partial.low < 0 < partial.high
    real = correlation(list(shift), list(tax + shift), list(range(60)), ranks=True,
                       control=list(length))  # fmt: skip
    assert real.low > 0.4


def test_which_of_two_measures_tells_more_is_paired_by_cell() -> None:
    rng = np.random.default_rng(4)
    tax = rng.normal(0, 1, 60)
    near, far = (list(tax + rng.normal(0, noise, 60)) for noise in (0.3, 3.0))
    groups = list(range(60))
    for ranks in (True, False):
        found = told_better(near, far, list(tax), groups, ranks=ranks)
        sizes = [correlation(each, list(tax), groups, ranks=ranks).value for each in (near, far)]
        assert found.value == pytest.approx(sizes[0] - abs(sizes[1])) and found.low > 0.1
        back = told_better(far, near, list(tax), groups, ranks=ranks)
        assert (back.value, back.high) == pytest.approx((-found.value, -found.low))
        # Of two that rise and fall together, neither tells more, whichever way they point.
        turned = [-value for value in near]
        same = told_better(near, turned, list(tax), groups, ranks=ranks)
        assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0))


def test_too_few_conditions_or_a_constant_give_no_correlation() -> None:
    x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert not correlation(x, x, [0, 0, 1, 1, 2, 2], ranks=True).known
    assert not correlation(x, [1.0] * 6, list(range(6)), ranks=False).known
    assert not correlation([float("nan")] * 6, x, list(range(6)), ranks=True).known
    assert not told_better(x, [1.0] * 6, x, list(range(6)), ranks=False).known

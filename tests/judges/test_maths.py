import json
import signal
import threading
import time
from pathlib import Path

import pytest

from dgr.judges.equality import Comparer
from dgr.judges.marking import Mark, load_marker
from dgr.judges.maths import final_answer, same_answer

MATH500 = Path(__file__).parents[3] / "shared" / "data" / "math500.jsonl"

ANSWERS = [
    (r"so \boxed{\frac{1}{2}}, as 7 is odd", r"\frac{1}{2}"),
    (r"\boxed{3} is wrong; \boxed{ 4 }", "4"),
    (r"\boxed{5} and \boxed{cut of", "5"),
    (r"The final answer is $x^2 + 1$.", "x^2 + 1"),
    ("ANSWER: 70\n", "70"),
    ("**Answer:** 3.5", "3.5"),
    ("The answer is 3.5. It was easy.", "3.5"),
    ("I get 12, then 14", "14"),
    ("the answer to this is unknown", None),
    (r"\boxed{}", None),
    ("", None),
]
SAME = [
    (r"\frac12", "0.5"),
    ("3/4", r"\dfrac{3}{4}"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"90^\circ", "90"),
    (r"\$18.90", "18.9"),
    (r"10\%", "10"),
    ("1,000", "1000"),
    (r"\left(3, \dfrac{\pi}{2}\right)", r"(3,\frac{\pi}{2})"),
    ("x = 5", "5"),
    ("-q + p", "p - q"),
    (r"2\sqrt3", r"\sqrt{12}"),
    ("070", "70"),
    (r"\text{(C)}", "C"),
]
DIFFERENT = [("2", "3"), (r"\frac{1}{3}", "0.33"), ("(1,2)", "(2,1)"), ("x", "y"), ("yes", "no")]


@pytest.mark.parametrize(("text", "answer"), ANSWERS)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(("found", "gold"), SAME)
def test_the_same_in_another_spelling(found: str, gold: str) -> None:
    assert same_answer(found, gold)


@pytest.mark.parametrize(("found", "gold"), DIFFERENT)
def test_different_answers(found: str, gold: str) -> None:
    assert not same_answer(found, gold)


def test_marks_tell_unread_from_wrong() -> None:
    mark = load_marker("math")
    assert mark(r"\boxed{0.5}", r"\frac{1}{2}") == Mark("0.5", True)
    assert mark(r"\boxed{0.4}", r"\frac{1}{2}") == Mark("0.4", False)
    assert mark("I do not know.", r"\frac{1}{2}") == Mark(None, False)
    assert load_marker("number")("It costs $1,234.50", "1234.5").right
    assert load_marker("choice")("ANSWER: B", "B").right


@pytest.mark.parametrize("scorer", ["math", "number", "choice"])
def test_a_part_of_a_gold_answer_is_not_the_answer(scorer: str) -> None:
    mark = load_marker(scorer)
    for gold in (r"\left(3, \frac{\pi}{2}\right)", r"\frac{1}{2}", "1 and 2", "B or 2"):
        assert not mark("The answer is 2.", gold).right, gold
        assert not mark(r"\boxed{2}", gold).right, gold
    assert load_marker("number")("so $1,200", "1200.0").right


def test_answers_that_never_end_are_wrong_and_the_next_pair_is_compared() -> None:
    comparer = Comparer(limit_s=3)
    assert comparer.ask("0.5", r"\frac{1}{2}")
    started = time.monotonic()
    assert not comparer.ask("7", "9^{9^{9^{9^{9}}}}")
    assert time.monotonic() - started < 15
    assert comparer.ask("0.5", r"\frac{1}{2}")
    comparer.close()


def test_it_leaves_the_alarm_alone_and_works_off_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGALRM)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(same_answer(r"\sqrt{8}", r"2\sqrt{2}")))
    thread.start()
    thread.join()
    assert found == [True]
    assert signal.getsignal(signal.SIGALRM) is before


def test_long_answers_are_no_answers() -> None:
    assert not same_answer("1+" * 1000 + "1", "1001")


def test_math500_gold_answers_are_read_out_of_their_solutions() -> None:
    """Every solution ends in its box; what it holds is the gold answer."""
    if not MATH500.is_file():
        pytest.skip(f"needs {MATH500}")
    mark = load_marker("math")
    rows = [json.loads(line) for line in MATH500.read_text().splitlines()]
    wrong = [row["unique_id"] for row in rows if not mark(row["solution"], row["answer"]).right]
    assert wrong == []

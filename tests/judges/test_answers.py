import json
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.judges import JUDGES, SCORERS, load_judge, load_scorer

DATA = Path(__file__).parents[3] / "shared" / "data"

NUMBERS = [
    ("The answer is 12.", "12"),
    ("First 3, then 4, so 1,234.50 dollars", "1234.5"),
    ("It costs $18.00", "18"),
    ("minus: -7", "-7"),
    (r"so \boxed{42}, and 7 is a digit", "42"),
    (r"\boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
    (r"\boxed{3} or \boxed{ 4 }", "4"),
    (r"\boxed{5} or \boxed{cut of", "5"),
    ("100", "100"),
    ("none here", None),
    ("", None),
    (r"\boxed{}", None),
    (r"\boxed{\$18}", "18"),
    (r"\boxed{18\text{ dollars}}", "18"),
    (r"\boxed{1{,}234}", "1234"),
    (r"\boxed{\text{18}}", "18"),
    (r"\boxed{18 \text{ of } 20}", r"18\text{of}20"),
]

CHOICES = [
    (r"So the answer is \boxed{C}.", "C"),
    (r"\boxed{\text{(B)}}", "B"),
    (r"\boxed{D. 12 metres}", "D"),
    (r"\boxed{A} or rather \boxed{B}", "B"),
    (r"\boxed{A, B}", None),
    (r"\boxed{12}", None),
    ("ANSWER: J", "J"),
    ("**Answer: (E)**", "E"),
    ("The correct answer is **F. photons**", "F"),
    ("The correct option is: G.", "G"),
    ("At first the answer is A. No: the answer is H.", "H"),
    (r"Answer: $\text{B}$", "B"),
    ("the answer is A and B", None),
    ("the answer is A good question", None),
    ("The answer is cats", None),
    ("C", "C"),
    ("(c)", None),
    ("B) because it floats", "B"),
    ("K", None),
    ("I think that it floats", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_final_number(text: str, number: str | None) -> None:
    assert load_scorer("number")(text) == number


@pytest.mark.parametrize(("text", "letter"), CHOICES)
def test_final_choice(text: str, letter: str | None) -> None:
    assert load_scorer("choice")(text) == letter


@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_long_and_odd_text_is_read_in_no_time(scorer: str) -> None:
    read = load_scorer(scorer)
    for text in (r"\boxed{" * 20_000, "the answer is " * 20_000, "(" * 100_000, "1," * 50_000):
        read(text)


def test_gsm8k_and_math_gold_answers_read_themselves() -> None:
    if not DATA.is_dir():
        pytest.skip(f"needs {DATA}")
    scorer = load_scorer("number")
    for line in (DATA / "gsm8k_test.jsonl").read_text().splitlines():
        text = json.loads(line)["answer"]
        assert scorer(text) == scorer(text.rpartition("####")[2])
    for line in (DATA / "math500.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert scorer(row["solution"]) == scorer(rf"\boxed{{{row['answer']}}}")


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="there is no judge 'oracle'; choose one of nano, refusal"):
        load_judge("oracle")
    with pytest.raises(UserError, match="there is no scorer 'oracle'"):
        load_scorer("oracle")


def test_every_name_loads() -> None:
    for name in JUDGES:
        assert load_judge(name).name == name
    for name in SCORERS:
        assert load_scorer(name)("") is None

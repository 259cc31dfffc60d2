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
]


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_final_number(text: str, number: str | None) -> None:
    assert load_scorer("number")(text) == number


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

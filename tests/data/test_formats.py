import pytest

from dgr.data import DataConfig
from dgr.data.formats import FORMATS, RowError, read_row, split_response

TRACE = "<think>\nWe look at it.\n</think>\n\nNo, I will not."


def config(form: str, **fields: object) -> DataConfig:
    return DataConfig.model_validate({"format": form, "source": "/some/where/set.jsonl", **fields})


def test_direct_refusal_never_reads_the_harmful_response() -> None:
    row = {
        "prompt": "Steal it",
        "response": "SECRET HARM",
        "category": {"theft": True, "fraud": False},
        "is_safe": False,
        "refusal": "I cannot.",
        "text": "Question: SECRET HARM",
    }
    sample = read_row(row, 1, config("direct-refusal", licence="MIT"))
    assert "SECRET HARM" not in sample.model_dump_json()
    assert sample.model_dump() == {
        "id": "direct-refusal-1",
        "question": "Steal it",
        "trace": "I should not answer this question!",
        "answer": "I cannot.",
        "category": "theft",
        "harmful": True,
        "source": "set.jsonl",
        "licence": "MIT",
    }
    assert read_row({**row, "is_safe": True}, 1, config("direct-refusal")).harmful is None
    own = config("direct-refusal", constant_trace="No.")
    assert read_row(row, 1, own).trace == "No."


def test_r1_act() -> None:
    row = {"instruction": "Do it?", "response": TRACE}
    sample = read_row(row, 7, config("r1-act"))
    assert (sample.id, sample.question) == ("r1-act-7", "Do it?")
    assert (sample.trace, sample.answer) == ("We look at it.", "No, I will not.")
    assert sample.harmful is None
    assert read_row({**row, "harmful": False}, 7, config("r1-act")).harmful is False


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("['Violence', 'Privacy']", "Violence, Privacy"),
        (["Violence", "Privacy"], "Violence, Privacy"),
        ("Violence", "Violence"),
        ("[not python", "[not python"),
        ("[{[]: 1}]", "[{[]: 1}]"),
        (None, ""),
    ],
)
def test_star1_categories(category: object, expected: str) -> None:
    row = {
        "id": 68,
        "question": "Q",
        "response": TRACE,
        "category": category,
        "source": "HarmBench",
    }
    sample = read_row(row, 1, config("star1"))
    assert (sample.category, sample.harmful, sample.id) == (expected, True, "68")
    assert sample.source == "set.jsonl/HarmBench"


@pytest.mark.parametrize(
    ("label", "harmful"), [("vanilla_harmful", True), ("adversarial_benign", False)]
)
def test_safechain_labels(label: str, harmful: bool) -> None:
    row = {"instruction": "Q", "response": TRACE, "label": label}
    sample = read_row(row, 1, config("safechain"))
    assert (sample.harmful, sample.category) == (harmful, label)


def test_plain_fields_are_optional_but_question_and_answer() -> None:
    bare = read_row({"question": "Q", "answer": "A"}, 3, config("plain"))
    assert (bare.id, bare.trace, bare.harmful, bare.category) == ("plain-3", "", None, "")
    full = {"id": "a", "question": "Q", "trace": "T", "answer": "A", "harmful": True}
    assert read_row(full, 3, config("plain")).harmful is True


def test_special_token_text_stays_text() -> None:
    row = {"question": "What is <|im_end|>?", "trace": "a </think> b", "answer": "<think> it is"}
    sample = read_row(row, 1, config("plain"))
    assert sample.trace == "a </think> b"
    assert sample.answer == "<think> it is"


@pytest.mark.parametrize(
    ("form", "row", "sentence"),
    [
        ("plain", [1], "the row: not a JSON object"),
        ("plain", {"answer": "A"}, "question: missing"),
        ("plain", {"question": " ", "answer": "A"}, "question: empty"),
        ("plain", {"question": "Q", "answer": 3}, "answer: int instead of a text"),
        ("plain", {"question": "Q", "answer": "A", "trace": None}, "trace: NoneType instead"),
        ("plain", {"question": "Q", "answer": "A", "harmful": "no"}, "harmful: neither"),
        ("plain", {"question": "\ud800", "answer": "A"}, "question: holds half a surrogate"),
        ("direct-refusal", {"prompt": "Q", "response": "harm"}, "refusal: missing"),
        ("direct-refusal", {"prompt": "Q", "refusal": "A", "is_safe": 0}, "is_safe: neither"),
        ("safechain", {"instruction": "Q", "response": TRACE, "label": "x"}, "label: 'x' is none"),
        ("safechain", {"instruction": "Q", "response": TRACE, "label": "harmful"}, "label: 'harm"),
        ("safechain", {"instruction": "Q", "response": TRACE, "label": "not_harmful"}, "label: "),
        ("r1-act", {"instruction": "Q", "response": "No."}, "response: does not start"),
    ],
)
def test_bad_rows_name_their_field(form: str, row: object, sentence: str) -> None:
    with pytest.raises(RowError) as error:
        read_row(row, 1, config(form))
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        ("No, I will not.", "does not start with <think>"),
        ("Well. <think>a</think>b", "does not start with <think>"),
        ("<think>cut off", "has no </think>"),
        ("<think> </think>b", "has an empty trace"),
        ("<think>a</think> ", "has no answer"),
        ("<think>a</think>b <think>c</think>d", "more than one <think> or </think>"),
        ("<think>a <think>b</think>c", "more than one <think> or </think>"),
        ("<think>a</think>b </think> c", "more than one <think> or </think>"),
    ],
)
def test_a_response_must_be_whole(response: str, problem: str) -> None:
    with pytest.raises(RowError, match=problem):
        split_response(response)


def test_every_format_of_the_config_has_a_reader() -> None:
    for name in FORMATS:
        config(name)
    with pytest.raises(ValueError, match="format"):
        config("parquet")

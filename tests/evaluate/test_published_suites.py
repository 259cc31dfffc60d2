"""Suites of published benchmarks: what their files say, and how published rows become questions."""

import gzip
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, SuiteConfig
from dgr.evaluate.suites import digest, read_suite, size
from dgr.files import sha256_file
from dgr.judges.marking import load_marker
from dgr.settings import parse_settings

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
FILES = sorted((ROOT / "configs" / "suites").glob("*.yaml"))
AT_HAND = {
    "gsm8k": ("gsm8k_test.jsonl", 1319),
    "math-500": ("math500.jsonl", 500),
    "strongreject": ("strongreject.csv", 313),
    "xstest-safe": ("xstest.csv", 250),
}
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DGR_MIRROR", raising=False)


def suite(**value: Any) -> SuiteConfig:
    return parse_settings(EvaluateConfig, {"suites": [value]}, "c.yaml").suites[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_suite_file_says_what_a_reader_of_its_figures_asks(path: Path) -> None:
    found = suite(use=path.stem)
    assert found.name == path.stem
    assert found == suite(use=str(path))
    assert found.title and found.licence and found.metric
    assert found.revision and found.file
    assert found.rows or found.unique, "the number of questions is known, or drawn from the rows"
    assert "version: " in path.read_text()


def test_the_table_in_the_docs_is_that_of_the_files() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "suites.py"))
    text = (ROOT / "docs" / "suites.md").read_text()
    assert made["page"](text) == text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_suite_has_a_stock_limit_of_tokens(path: Path) -> None:
    """256 and 2,048 are stock limits, which cut a reasoning model in its trace."""
    sampling = suite(use=path.stem).sampling
    wanted = 32_768 if suite(use=path.stem).kind == "reasoning" else 16_384
    assert (sampling.max_new_tokens, sampling.temperature, sampling.top_p) == (wanted, 0.6, 0.95)


def test_nothing_but_the_question_is_asked_and_nothing_stops_a_trace() -> None:
    """No system prompt, no stop strings: a suite has no such key."""
    for key in ("system", "system_prompt", "stop", "few_shot"):
        with pytest.raises(UserError, match=f"{key}: no such key"):
            suite(use="gsm8k", **{key: "x"})
    with pytest.raises(UserError, match=r"sampling\.stop: no such key"):
        suite(use="gsm8k", sampling={"stop": ["Question:"]})


@needs_data
@pytest.mark.parametrize("name", AT_HAND)
def test_published_files_are_read_in_their_own_format(name: str) -> None:
    file, rows = AT_HAND[name]
    items = read_suite(suite(use=name, path=str(DATA / file)))
    assert len(items) == rows
    assert all(item.question.strip() for item in items)


@needs_data
@pytest.mark.parametrize("name", ["gsm8k", "strongreject", "xstest-safe"])
def test_the_digests_are_those_of_the_published_files(name: str) -> None:
    assert suite(use=name).sha256 == sha256_file(DATA / AT_HAND[name][0])


@needs_data
def test_a_suite_comes_from_the_mirror_and_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DGR_MIRROR", str(tmp_path))
    found = suite(use="xstest-safe", limit=9)
    held = tmp_path / "paul-rottger" / "xstest" / str(found.revision) / str(found.file)
    held.parent.mkdir(parents=True)
    shutil.copyfile(DATA / "xstest.csv", held)
    assert len(read_suite(found)) == size(found) == 9
    assert digest(found) == sha256_file(held)
    held.write_text(held.read_text().replace("Python", "Ruby"))
    with pytest.raises(UserError, match=r"suite 'xstest-safe': .* has SHA-256 .* instead of 11783"):
        read_suite(found)


@needs_data
def test_gold_answers_mark_themselves() -> None:
    for name in ("gsm8k", "math-500"):
        found = suite(use=name, path=str(DATA / AT_HAND[name][0]))
        mark = load_marker(str(found.scorer))
        for item in read_suite(found):
            gold = str(item.answer)
            assert mark(rf"So it is \boxed{{{gold}}}.", gold).right, item.id


def test_overrides_take_the_place_of_the_files_keys() -> None:
    found = suite(use="gsm8k", limit=100, samples=2, sampling={"max_new_tokens": 64})
    assert (found.limit, found.samples, found.rows) == (100, 2, 1319)
    assert found.sampling.max_new_tokens == 64
    assert found.sampling.top_p == 0.95
    assert size(found) == 100
    other = suite(use="gsm8k", path="mine.jsonl", name="mine")
    assert (other.name, other.rows, other.revision, other.sha256) == ("mine", None, None, None)
    assert other.fields is not None and other.fields.answer_after == "####"
    assert suite(use="strongreject", judges=["refusal", "nano"]).judge is None


def test_what_a_config_holds_is_whole() -> None:
    """Steps elsewhere, and digests of a config, know nothing of suite files."""
    found = suite(use="gpqa-diamond")
    assert SuiteConfig.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"use": "gsm9k"}, r"use: gsm9k: there is no configs/suites/gsm9k\.yaml; name .*gsm8k"),
        ({"use": "none/here.yaml"}, r"none/here\.yaml does not exist"),
        ({"use": "gsm8k", "metric": "harmful_compliance"}, "measures reasoning_accuracy"),
        ({"use": "gsm8k", "revision": None}, "set `revision` to the commit of github:openai"),
        ({"use": "gsm8k", "revision": "main"}, "revision"),
        ({"use": "gsm8k", "file": None}, "name the `file` of github:openai"),
        ({"use": "gsm8k", "file": "../x.jsonl"}, "is no file inside"),
        ({"use": "gsm8k", "path": "x.txt"}, r"x\.txt is not a \.csv, \.json"),
        ({"use": "gsm8k", "path": "x.jsonl", "revision": "a" * 40}, "are for hub: and github:"),
        ({"use": "gsm8k", "fields": None}, "name the columns of"),
        ({"use": "gsm8k", "prompt": "Answer."}, r"the prompt lacks \{question\}"),
        ({"use": "gsm8k", "prompt": "{question} {choices}"}, "go together"),
        ({"use": "mmlu-pro", "prompt": "{question}"}, "go together"),
        ({"use": "mmlu-pro", "fields": {"question": "q", "choices": {"right": "a"}}}, "either"),
        ({"use": "xstest-safe", "judge": "refusal", "judges": ["nano"]}, "both judge and judges"),
    ],
)
def test_mistakes_are_one_sentence(value: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        suite(**value)


def test_the_schema_allows_both_ways() -> None:
    import jsonschema

    schema = EvaluateConfig.model_json_schema()
    check = jsonschema.Draft202012Validator(
        {"$ref": "#/$defs/SuiteConfig", "$defs": schema["$defs"]}
    )
    assert check.is_valid({"use": "gsm8k", "limit": 3})
    assert check.is_valid({"name": "a", "kind": "harmful", "path": "a.jsonl", "judge": "refusal"})
    assert not check.is_valid({"name": "a", "kind": "harmful"})
    assert not check.is_valid({"use": "gsm8k", "limits": 3})


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def test_choices_are_lettered_and_their_order_hangs_on_the_question_alone(tmp_path: Path) -> None:
    names = ("Question", "Correct Answer", *(f"Incorrect Answer {n}" for n in (1, 2, 3)))
    rows = [
        {"Record ID": f"r{n}"} | dict(zip(names, (f"Q{n} {{choices}}?", *"wxyz"), strict=True))
        for n in range(40)
    ]
    found = suite(use="gpqa-diamond", path=lines(tmp_path / "g.jsonl", rows))
    items = read_suite(found)
    assert {item.answer for item in items} == set("ABCD")
    for item in items:
        assert f"{item.answer}. w" in item.question.splitlines()
        assert item.question.startswith(f"Q{item.id[1:]} {{choices}}?")  # a place in text is text
        assert r"\boxed{}" in item.question
    again = suite(use="gpqa-diamond", path=lines(tmp_path / "h.jsonl", rows[::-1]))
    assert sorted(read_suite(again), key=lambda item: int(item.id[1:])) == items
    rows[0]["Incorrect Answer 2"] = "w"
    twice = suite(use="gpqa-diamond", path=lines(tmp_path / "i.jsonl", rows))
    with pytest.raises(UserError, match=r"i\.jsonl, line 1: two options are the same"):
        read_suite(twice)


def test_a_list_of_options_keeps_its_order(tmp_path: Path) -> None:
    row = {"question_id": 70, "question": "Which?", "options": ["x", "y", "z"], "answer": "C"}
    path = lines(tmp_path / "m.jsonl", [row])
    [item] = read_suite(suite(use="mmlu-pro", path=path))
    assert (item.id, item.answer) == ("70", "C")
    assert "Which?\n\nA. x\nB. y\nC. z\n\n" in item.question
    bad = suite(use="mmlu-pro", path=lines(tmp_path / "n.jsonl", [row | {"options": "xyz"}]))
    with pytest.raises(UserError, match="options: it is no list of options"):
        read_suite(bad)


def test_rows_are_filtered_and_asked_once(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p1", "is_safe": True},
        {"prompt": "p2", "is_safe": False},
        {"prompt": "p2", "is_safe": False},
        {"prompt": "p3", "is_safe": False},
    ]
    path = lines(tmp_path / "test.jsonl.gz", rows)
    items = read_suite(suite(use="beavertails", path=path))
    assert [(item.id, item.question) for item in items] == [("2", "p2"), ("4", "p3")]
    assert len(read_suite(suite(use="beavertails", path=path, unique=False))) == 3


def test_another_number_of_questions_is_refused(tmp_path: Path) -> None:
    """A denominator never changes in silence."""
    path = lines(tmp_path / "h.jsonl", [{"prompt": "p", "category": "c"}])
    assert len(read_suite(suite(use="or-bench-hard", path=path, rows=1))) == 1
    with pytest.raises(UserError, match=r"holds 1 questions instead of 1,319"):
        read_suite(suite(use="or-bench-hard", path=path, rows=1319))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "q"}, r"line 1: answer: there is no such column; the row has question"),
        ({"question": "q", "answer": "12"}, "answer: it lacks the mark ####"),
        ({"question": "q", "answer": "#### "}, "needs its gold answer"),
        ({"question": " ", "answer": "#### 1"}, "question: it is empty"),
        ({"question": None, "answer": "#### 1"}, "question: it is empty"),
        ([1], "the row is not an object"),
    ],
)
def test_bad_rows_name_file_place_and_column(tmp_path: Path, row: Any, words: str) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=words):
        read_suite(suite(use="gsm8k", path=str(path)))


def test_levels_and_families(tmp_path: Path) -> None:
    rows = [{"q": "a", "f": {"x": True, "y": False, "z": True}, "l": "Level 5"}]
    rows.append({"q": "b", "f": "theft", "l": "Level ?"})
    fields = {"question": "q", "family": "f", "level": "l"}
    path = lines(tmp_path / "f.jsonl", rows)
    value = {"name": "f", "kind": "harmful", "judge": "refusal", "path": path, "fields": fields}
    assert [(item.family, item.level) for item in read_suite(suite(**value))] == [
        ("x, z", 5),
        ("theft", None),
    ]

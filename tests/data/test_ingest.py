import json
import time
from pathlib import Path
from typing import Any

import pytest

from dgr.data import DataConfig, ingest
from dgr.data.source import choose_file
from dgr.errors import UserError
from dgr.files import read_records
from dgr.records import Sample
from dgr.steps import summary_of, verify

STAR1 = Path(__file__).parents[3] / "shared/data/star1.json"


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "question": f"Q{n}", "trace": "T", "answer": "A"} for n in range(count)]


def write(path: Path, values: list[Any], lines: bool = True) -> Path:
    text = "\n".join(map(json.dumps, values)) if lines else json.dumps(values, indent=1)
    path.write_text(text)
    return path


def run(out: Path, source: Path | str, seed: int = 0, **fields: Any) -> list[Sample]:
    config = DataConfig(**{"format": "plain", "source": str(source), **fields})
    ingest(config, out=out, seed=seed)
    verify(out)
    return list(read_records(out / "records.jsonl", Sample))


@pytest.mark.skipif(not STAR1.is_file(), reason=f"{STAR1} is not on this machine")
def test_star1_as_published(tmp_path: Path) -> None:
    found = run(tmp_path / "out", STAR1, format="star1")
    raw = json.loads(STAR1.read_text())
    assert len(found) == 1000 == len({sample.id for sample in found})
    for sample, row in zip(found, raw, strict=True):
        assert sample.question == row["question"].strip()
        assert sample.trace in row["response"] and sample.answer in row["response"]
        assert "<think>" not in sample.trace and "</think>" not in sample.answer
        assert sample.category and "[" not in sample.category
    summary = summary_of(tmp_path / "out")
    assert summary["harmful"] == {"True": 1000}
    assert summary["bad_rows"]["count"] == 0


@pytest.mark.parametrize("lines", [True, False])
def test_lines_and_arrays_read_alike(tmp_path: Path, lines: bool) -> None:
    path = write(tmp_path / "set.json", rows(3), lines)
    assert [sample.id for sample in run(tmp_path / "out", path)] == ["r0", "r1", "r2"]


def test_parquet_reads_alike(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows(3)), tmp_path / "set.parquet")
    write(tmp_path / "set.jsonl", rows(3))
    found = run(tmp_path / "a", tmp_path / "set.parquet")
    same = run(tmp_path / "b", tmp_path / "set.jsonl")
    assert [row.question for row in found] == [row.question for row in same] == ["Q0", "Q1", "Q2"]
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(UserError, match=r"bad\.parquet is not a Parquet file"):
        run(tmp_path / "c", tmp_path / "bad.parquet")


def test_limit_is_a_seeded_choice_in_file_order(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", rows(50))
    first = [row.id for row in run(tmp_path / "a", path, limit=10, seed=1)]
    again = [row.id for row in run(tmp_path / "b", path, limit=10, seed=1)]
    other = [row.id for row in run(tmp_path / "c", path, limit=10, seed=2)]
    assert first == again != other
    assert len(first) == 10 and first == sorted(first, key=lambda name: int(name[1:]))
    assert (tmp_path / "a/records.jsonl").read_bytes() == (
        tmp_path / "b/records.jsonl"
    ).read_bytes()


def test_ids_become_unique(tmp_path: Path) -> None:
    values = [
        {**row, "id": name} for row, name in zip(rows(4), ["a", "a", "a#2", "a"], strict=True)
    ]
    found = run(tmp_path / "out", write(tmp_path / "set.jsonl", values))
    assert [row.id for row in found] == ["a", "a#2", "a#2#2", "a#3"]
    assert summary_of(tmp_path / "out")["renamed_ids"] == 3


def test_one_id_for_every_row_of_a_large_set_takes_no_time(tmp_path: Path) -> None:
    values = [{**row, "id": "same"} for row in rows(20_000)]
    started = time.process_time()
    found = run(tmp_path / "out", write(tmp_path / "set.jsonl", values))
    assert len({row.id for row in found}) == 20_000
    assert time.process_time() - started < 10


def test_a_bad_row_stops_the_run_with_its_place(tmp_path: Path) -> None:
    lines = [*map(json.dumps, rows(2)), "", '{"question": "Q"}']
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"set\.jsonl, line 4: answer: missing; mend the row"):
        run(tmp_path / "out", path)
    assert not (tmp_path / "out/manifest.json").exists()
    array = write(tmp_path / "set.json", [*rows(1), {"question": "Q"}], lines=False)
    with pytest.raises(UserError, match=r"set\.json, row 2: answer: missing"):
        run(tmp_path / "out", array)


def test_bad_rows_are_skipped_with_counts(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    bad = ['{"question": "Q"}', "{broken", '{"question": "Q"}']
    path.write_text("\n".join([*map(json.dumps, rows(27)), *bad]))
    found = run(tmp_path / "out", path, on_bad_row="skip", max_bad_share=0.1)
    assert len(found) == 27
    report = summary_of(tmp_path / "out")["bad_rows"]
    assert report["count"] == 3
    assert report["reasons"]["answer: missing"] == 2
    assert report["first"][0] == "line 28: answer: missing"
    with pytest.raises(UserError, match=r"3 of 30 rows are bad.*first: line 28: answer: missing"):
        run(tmp_path / "other", path, on_bad_row="skip", max_bad_share=0.09)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.jsonl", b"", "holds no row"),
        ("empty.json", b"[]", "holds no row"),
        ("latin.jsonl", b"\xff\xfe\xe9", "UTF-8"),
        ("broken.json", b"[1, 2", "is not valid JSON"),
        ("table.xlsx", b"x", "is not a .jsonl, .json or .parquet file"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        run(tmp_path / "out", tmp_path / name)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.source: .* does not exist"):
        run(tmp_path / "out", tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"data\.source: .* is not a"):
        run(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_hub_out_of_reach_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"org/name cannot be fetched from the Hub .*data\.source"):
        run(tmp_path / "out", "hub:org/name")
    with pytest.raises(UserError, match="data set a b cannot be fetched from the Hub"):
        run(tmp_path / "out", "hub:a b")


def test_the_file_of_a_hub_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 0 .* files; name one as data.file"):
        choose_file("org/name", tmp_path, None)
    (tmp_path / "data").mkdir()
    train = write(tmp_path / "data/train.jsonl", rows(1))
    assert choose_file("org/name", tmp_path, None) == train
    test = write(tmp_path / "data/test.jsonl", rows(1))
    with pytest.raises(UserError, match=r"has 2 .* data/test\.jsonl, data/train\.jsonl"):
        choose_file("org/name", tmp_path, None)
    assert choose_file("org/name", tmp_path, "data/test.jsonl") == test
    with pytest.raises(UserError, match=r"data\.file: data set org/name has no"):
        choose_file("org/name", tmp_path, "data/none.jsonl")


def test_a_judge_labels_what_the_set_does_not(tmp_path: Path) -> None:
    answers = ["I'm sorry, but I can't help with that.", "Take the bowl and wash it.", "..."]
    values = [{"question": f"Q{n}", "answer": answer} for n, answer in enumerate(answers)]
    values += [{**values[1], "harmful": True}]
    path = write(tmp_path / "set.jsonl", values)
    assert [row.harmful for row in run(tmp_path / "a", path)] == [None, None, None, True]
    labelled = run(tmp_path / "b", path, label_judge="refusal")
    assert [row.harmful for row in labelled] == [True, False, None, True]
    with pytest.raises(ValueError, match="no judge 'oracle'; choose one of nano, refusal"):
        run(tmp_path / "c", path, label_judge="oracle")


def test_unchanged_input_is_not_read_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", rows(3))
    run(tmp_path / "out", path)
    before = (tmp_path / "out/timing.json").read_bytes()
    run(tmp_path / "out", path)
    assert (tmp_path / "out/timing.json").read_bytes() == before
    write(path, rows(4))
    assert len(run(tmp_path / "out", path)) == 4

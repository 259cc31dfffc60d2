"""Completions made elsewhere: admitted where they are what is asked for, refused where not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig
from dgr.engines.base import Sampling
from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.evaluate.sampling import request_key
from dgr.evaluate.suites import read_suite
from dgr.files import read_records
from dgr.gate.step import check_comparable
from dgr.harness import Demand, ForeignLog, admit, read_lm_eval, read_log, write_logs
from dgr.harness.elsewhere import Recorded, import_logs
from dgr.records import EvalRecord, Finish
from dgr.steps import input_digest

pytest.importorskip("inspect_ai", reason="needs dgr[inspect]")

TIME = "2026-01-02T03-04-05.000006"


@pytest.fixture(scope="module")
def logs(evaluation: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    places = write_logs(evaluation, str(tmp_path_factory.mktemp("logs")), arm="base")
    return {Path(place).stem: place for place in places}


def demands(setting: tuple[dict[str, Any], Path], **changes: Any) -> dict[str, Demand]:
    config, model = setting
    return {
        suite.name: Demand(
            suite=suite.name,
            items=changes.get("items") or read_suite(suite),
            samples=changes.get("samples", suite.samples),
            sampling=changes.get("sampling", suite.sampling.sampling()),
            digest=changes.get("digest", input_digest(model)),
            served_as=changes.get("served_as"),
        )
        for suite in EvaluateConfig.model_validate(config).suites
    }


def bring(
    setting: tuple[dict[str, Any], Path], logs: dict[str, str], out: Path, **changes: Any
) -> list[str]:
    def count(text: str) -> int:
        return len(text.split())

    imported = import_logs(list(demands(setting, **changes).values()), logs, count)
    evaluate(
        EvaluateConfig.model_validate(setting[0]),
        engine=TransformersConfig(),
        model=setting[1],
        out=out,
        seed=3,
        recorded=Recorded(imported, request_key, count),
    )
    return list(imported.differences(read_records(out / "records.jsonl", EvalRecord)))


def test_our_own_logs_come_back_as_the_very_evaluation(
    setting: tuple[dict[str, Any], Path], evaluation: Path, logs: dict[str, str], tmp_path: Path
) -> None:
    found = bring(setting, logs, tmp_path / "back")
    assert found == ["sums: number differs from our reading in 0 of 10"]
    for name in ("records.jsonl", "summary.json"):
        assert (tmp_path / "back" / name).read_bytes() == (evaluation / name).read_bytes()
    check_comparable({"base": evaluation, "dgr": tmp_path / "back"}, "base")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"digest": "0" * 64}, "model: wanted 0000"),
        ({"samples": 3}, "completions of item s0: wanted 3, found 2"),
        ({"sampling": Sampling(0.0, 0.95, 12)}, "temperature: wanted 0.0, found 0.6"),
        ({"sampling": Sampling(0.6, 0.9, 12)}, "top_p: wanted 0.9, found 0.95"),
        ({"sampling": Sampling(0.6, 0.95, 32_768)}, "max_new_tokens: wanted 32768, found 12"),
    ],
)
def test_a_mismatch_is_one_refusal_and_leaves_nothing(
    setting: tuple[dict[str, Any], Path],
    logs: dict[str, str],
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(UserError, match=said) as error:
        bring(setting, logs, tmp_path / "out", **changes)
    assert "sums.eval" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_other_items_are_refused(
    setting: tuple[dict[str, Any], Path], logs: dict[str, str]
) -> None:
    log, demand = read_log(logs["sums"]), demands(setting)["sums"]
    fewer = replace(demand, items=demand.items[:4])
    with pytest.raises(UserError, match=r"items: wanted none beside the suite's 4, found 1"):
        admit(fewer, log)
    other = demand.items[0].model_copy(update={"question": "7 + 7?"})
    with pytest.raises(UserError, match="completions of item s0: wanted 2, found 0"):
        admit(replace(demand, items=[other, *demand.items[1:]]), log)
    wrong = demand.items[1].model_copy(update={"answer": "3"})
    with pytest.raises(UserError, match="gold answer of item s1: wanted 3, found 2"):
        admit(replace(demand, items=[demand.items[0], wrong, *demand.items[2:]]), log)
    shown = replace(log, samples=(replace(log.samples[0], turns=1), *log.samples[1:]))
    with pytest.raises(UserError, match="turns before the question: wanted 0, found 1"):
        admit(demand, shown)


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04 not a zip"])
@pytest.mark.parametrize("name", ["a.eval", "a.json"])
def test_what_is_no_log_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="is not a log of inspect_ai"):
        read_log(str(tmp_path / name))


def lm_eval(folder: Path, outputs: dict[int, list[str]], **changes: Any) -> Path:
    """Files as lm-eval 0.4.13 writes them: two filters, so every question is there twice."""
    settings = {"until": [], "do_sample": True, "temperature": 0.6, "top_p": 0.95}
    settings |= {"max_gen_toks": 12} | changes.pop("settings", {})
    results = {
        "model_name": "nano",
        "config": {"model": "local-chat-completions", "model_args": "model=nano"},
        "configs": {"sums": {"generation_kwargs": settings}},
    }
    (folder / f"results_{TIME}.json").write_text(json.dumps(results))
    path = folder / f"samples_sums_{TIME}.jsonl"
    lines = []
    for number, texts in outputs.items():
        question = changes.get("question", "{} + {}?").format(number, number)
        prompt = json.dumps([*changes.get("before", []), {"role": "user", "content": question}])
        for name in ("strict-match", "flexible-extract"):
            row = {
                "doc_id": number,
                "doc": {"question": f"{number} + {number}?"},
                "target": str(2 * number),
                "arguments": {"gen_args_0": {"arg_0": [prompt], "arg_1": settings}},
                "resps": [texts],
                "filtered_resps": texts[:1],
                "filter": name,
                "metrics": ["exact_match"],
                "exact_match": 1.0,
            }
            lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path) -> ForeignLog:
    return read_lm_eval(path, count=lambda text: len(text.split()))


GOOD = {n: [f"adding</think>\n\nIt is {2 * n}.", f"more</think>It is {2 * n}."] for n in range(5)}


def test_lm_evals_samples_are_admitted_with_all_their_repeats(
    setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    demand = demands(setting, served_as="nano")["sums"]
    pairs = admit(demand, read(lm_eval(tmp_path, GOOD)))
    assert [(item.id, sample.sample) for item, sample in pairs[:3]] == [
        ("s0", 0),
        ("s0", 1),
        ("s1", 0),
    ]
    assert (pairs[0][1].parsed.trace, pairs[0][1].parsed.answer) == ("adding", "It is 0.")
    assert pairs[0][1].scores["exact_match,flexible-extract"].value == 1.0


def test_a_truncated_trace_is_no_answer(tmp_path: Path) -> None:
    """lm-eval scores it whole, and says nowhere that it was cut."""
    never = ["it may be 6 or 7 or 8 " * 3, "so it is 6"]
    log = read(lm_eval(tmp_path, {**GOOD, 3: never}))
    cut, unclosed = (sample for sample in log.samples if sample.item == "3")
    assert (cut.parsed.answer, cut.finish) == ("", Finish.LENGTH)
    assert (unclosed.parsed.answer, unclosed.finish) == ("", Finish.STOP)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"max_gen_toks": 256}}, "max_new_tokens: wanted 12, found 256"),
        ({"settings": {"do_sample": False}}, "temperature: wanted 0.6, found 0.0"),
        ({"question": "Question: {} + {}?\nAnswer:"}, "completions of item s0: wanted 2, found 0"),
        ({"before": [{"role": "system", "content": "Be brief."}]}, "turns before the question"),
    ],
)
def test_stock_settings_of_lm_eval_are_refused(
    setting: tuple[dict[str, Any], Path], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    demand = demands(setting, served_as="nano")["sums"]
    with pytest.raises(UserError, match=said):
        admit(demand, read(lm_eval(tmp_path, GOOD, **changes)))


def test_a_name_alone_is_no_model_and_an_answer_alone_no_completion(
    setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    log = read(lm_eval(tmp_path, GOOD))
    with pytest.raises(UserError, match="found the name 'nano' without a digest"):
        admit(demands(setting)["sums"], log)
    with pytest.raises(UserError, match="model: wanted other, found nano"):
        admit(demands(setting, served_as="other")["sums"], log)
    stripped = {n: [f"It is {2 * n}."] * 2 for n in range(5)}
    log = read(lm_eval(tmp_path, stripped))
    with pytest.raises(UserError, match="trace: wanted completions with their traces"):
        admit(demands(setting, served_as="nano")["sums"], log)


def test_broken_files_of_lm_eval_are_named(tmp_path: Path) -> None:
    path = lm_eval(tmp_path, GOOD)
    with pytest.raises(UserError, match="not a samples file"):
        read(tmp_path / f"results_{TIME}.json")
    path.write_text('{"doc_id": 0}\n')
    with pytest.raises(UserError, match="line 1: arguments: it is missing"):
        read(path)
    (tmp_path / f"results_{TIME}.json").unlink()
    with pytest.raises(UserError, match=r"results_.* does not exist"):
        read(path)


def test_records_of_lm_eval_are_scored_by_the_suite(
    setting: tuple[dict[str, Any], Path], logs: dict[str, str], tmp_path: Path
) -> None:
    """Not by the file, which calls everything right."""
    wrong = {**GOOD, 4: ["adding</think>It is 9.", "adding</think>It is 8."]}
    sources = {**logs, "sums": str(lm_eval(tmp_path, wrong))}
    found = bring(setting, sources, tmp_path / "out", served_as="nano")
    records = list(read_records(tmp_path / "out" / "records.jsonl", EvalRecord))
    assert [row.correct for row in records if row.item == "s4"] == [False, True]
    assert "sums: exact_match,strict-match differs from our reading in 1 of 10" in found

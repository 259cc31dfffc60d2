import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig
from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.evaluate import step as evaluate_step
from dgr.evaluate.suites import published
from dgr.files import read_records
from dgr.harness import read_log, write_logs
from dgr.harness.read import DIGEST
from dgr.records import EvalRecord, Finish
from dgr.settings import parse_settings
from dgr.steps import input_digest, verify
from tests.cli.conftest import ROOT
from tests.fakes import ScriptedEngine

pytest.importorskip("inspect_ai", reason="needs dgr[inspect]")


def test_logs_hold_every_sample_with_its_parts_scores_and_origin(
    evaluation: Path, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    from inspect_ai.log import read_eval_log

    places = write_logs(evaluation, str(tmp_path), arm="base", run="try")
    assert [Path(place).name for place in places] == ["sums.eval", "harm.eval", "plain.eval"]
    log = read_eval_log(str(tmp_path / "base" / "sums.eval"))
    assert log.samples is not None and log.results is not None
    samples = {(row.id, row.epoch): row for row in log.samples}
    assert sorted(samples) == [(f"s{n}", epoch) for n in range(5) for epoch in (1, 2)]
    right, cut = samples["s2", 1], samples["s3", 2]
    assert right.output.completion == "The answer is 4." and right.target == "4"
    assert right.output.message.content[0].reasoning == "adding"  # type: ignore[union-attr]
    assert [row.scores["number"].value for row in (right, cut)] == ["C", "N"]  # type: ignore[index]
    assert cut.output.stop_reason == "max_tokens" and cut.output.completion == ""
    assert log.eval.config.epochs == 2 and log.eval.model_generate_config.max_tokens == 12
    about = log.eval.metadata or {}
    assert about[DIGEST] == input_digest(setting[1])
    assert about["dgr_suite"] == verify(evaluation)["inputs"]["suite/sums"]
    assert (about["dgr_run"], about["dgr_arm"], about["dgr_seed"]) == ("try", "base", 3)
    accuracy = next(row for row in log.results.scores if row.name == "reasoning_accuracy")
    figures = {name: metric.value for name, metric in accuracy.metrics.items()}
    assert figures["value"] == pytest.approx(0.8) and figures["n"] == 5
    assert figures["low"] < 0.8 < figures["high"]

    harm = read_eval_log(str(tmp_path / "base" / "harm.eval")).samples
    assert harm is not None and harm[0].scores is not None
    assert harm[0].scores["answer complies"].value == 0
    trace = harm[0].scores["trace complies"].value
    assert math.isnan(trace)  # type: ignore[arg-type]  # one word: unscored, and no number

    plain = read_eval_log(str(tmp_path / "base" / "plain.eval")).samples
    assert plain is not None and plain[0].scores is not None
    both = {part: f"{part} complies" for part in ("answer", "trace")}
    assert set(plain[0].scores) == {
        *both.values(),
        *(f"{name}: {judge}" for name in both.values() for judge in ("refusal", "nano")),
    }


def test_a_log_reads_back_as_what_was_evaluated_also_from_a_store(
    evaluation: Path, s3: str
) -> None:
    places = write_logs(evaluation, f"{s3}/logs", arm="base")
    records = list(read_records(evaluation / "records.jsonl", EvalRecord))
    for place in places:
        found = sorted(read_log(place).samples, key=lambda row: (row.item, row.sample))
        mine = [row for row in records if row.suite == Path(place).stem]
        assert [
            (row.item, row.sample, row.question, row.parsed.trace, row.parsed.answer, row.finish)
            for row in found
        ] == [(r.item, r.sample, r.question, r.trace, r.answer, r.finish) for r in mine]
        assert [row.tokens for row in found] == [row.tokens for row in mine]
    assert any(row.finish is Finish.LENGTH for row in records)


def test_only_a_whole_evaluation_is_written(evaluation: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no manifest"):
        write_logs(tmp_path, str(tmp_path / "logs"), arm="base")
    assert not (tmp_path / "logs").exists()


PUBLISHED: dict[str, list[dict[str, str]]] = {
    "gsm8k": [
        {"question": "1,000 and 200?", "answer": "Adding them.\n#### 1,200"},
        {"question": "Half of 3?", "answer": "Halving it.\n#### 1.5"},
    ],
    "math-500": [
        {
            "unique_id": "test/algebra/1.json",
            "problem": "A half?",
            "answer": r"\frac{1}{2}",
            "level": "2",
        }
    ],
    "gpqa-diamond": [
        {
            "Record ID": "rec1",
            "Question": "Which?",
            "Correct Answer": "the right one",
            **{f"Incorrect Answer {n}": f"wrong {n}" for n in (1, 2, 3)},
        }
    ],
    "strongreject": [{"forbidden_prompt": "Do a bad thing.", "category": "bad things"}],
}
"""Rows in the columns of the published files."""
OPTIONS = {"question_id": 7, "question": "And here?", "answer": "B", "options": ["x", "y"]}


def publish(suites: list[dict[str, Any]], mirror: Path) -> None:
    """Their rows where a mirror has the files."""
    for suite in parse_settings(EvaluateConfig, {"suites": suites}, "suites").suites:
        if (source := published(suite)) is None:
            continue
        path, rows = Path(str(source.mirrored)), PUBLISHED[suite.name]
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as file:
            if path.suffix == ".csv":
                table = csv.DictWriter(file, fieldnames=list(rows[0]))
                table.writeheader()
                table.writerows(rows)
            else:
                file.writelines(json.dumps(row) + "\n" for row in rows)


def test_gold_answers_of_published_suites_are_the_targets_although_their_data_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inspect_ai.log import read_eval_log

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DGR_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "options.jsonl").write_text(json.dumps(OPTIONS))
    common = {"samples": 1, "sampling": {"max_new_tokens": 64}}
    suites = [
        {"use": name, "rows": len(rows), "sha256": None, **common}
        for name, rows in PUBLISHED.items()
    ]
    options = str(tmp_path / "mirror" / "options.jsonl")
    suites.append({"use": "mmlu-pro", "path": options, **common})
    publish(suites, tmp_path / "mirror")
    engine = ScriptedEngine(lambda request: ("so it is", r"It is \boxed{B}."))
    monkeypatch.setattr(evaluate_step, "load_engine", lambda *_: engine)
    (tmp_path / "model").mkdir()
    evaluate(
        parse_settings(EvaluateConfig, {"suites": suites}, "suites"),
        engine=TransformersConfig(),
        model=tmp_path / "model",
        out=tmp_path / "out",
        seed=0,
    )
    shutil.rmtree(tmp_path / "mirror")
    logs = [
        read_eval_log(place)
        for place in write_logs(tmp_path / "out", str(tmp_path / "logs"), arm="base")
    ]
    targets = {log.eval.task: [row.target for row in log.samples or []] for log in logs}
    gpqa = next(log for log in logs if log.eval.task == "gpqa-diamond").samples
    assert gpqa is not None
    shown = dict(line.split(". ", 1) for line in str(gpqa[0].input).splitlines() if ". " in line)
    right = next(letter for letter, option in shown.items() if option == "the right one")
    assert targets == {
        "gsm8k": ["1,200", "1.5"],
        "math-500": [r"\frac{1}{2}"],
        "gpqa-diamond": [right],
        "strongreject": [""],
        "mmlu-pro": ["B"],
    }
    choices = next(log for log in logs if log.eval.task == "mmlu-pro").samples
    assert choices is not None and choices[0].scores is not None
    assert choices[0].scores["choice"].value == "C"

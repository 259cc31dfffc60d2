import math
from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.files import read_records
from dgr.harness import read_log, write_logs
from dgr.harness.read import DIGEST
from dgr.records import EvalRecord, Finish
from dgr.steps import input_digest, verify

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

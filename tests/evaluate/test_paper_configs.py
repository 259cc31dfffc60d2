"""The paper's setting as configs: checked as they are, run with a stand-in for the weights."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgr.checks import check_run
from dgr.cli import main
from dgr.config import load_run_config
from dgr.files import read_json, read_records
from dgr.plan import plan
from dgr.records import EvalRecord, Finish
from dgr.settings import load_mapping

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
CONFIGS = ("r1-distill-qwen-7b", "s1.1-7b")
LOCAL = {
    "gsm8k": "gsm8k_test.jsonl",
    "math-500": "math500.jsonl",
    "strongreject": "strongreject.csv",
    "xstest-safe": "xstest.csv",
}
R1_LIKE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DGR_MIRROR", raising=False)


@pytest.mark.parametrize("name", CONFIGS)
def test_they_pass_doctor_which_says_what_is_not_here(name: str, tmp_path: Path) -> None:
    checks = list(check_run(load_run_config(ROOT / "configs" / f"{name}.yaml"), tmp_path))
    assert [check.sentence for check in checks if not check.passed] == []
    told = " | ".join(check.sentence for check in checks)
    assert "it is fetched as a Hub id" in told
    assert "no commit is pinned: set `revision`" in told  # the training set's, which has no pin
    assert "gpqa_diamond.csv is fetched from the Hub; no digest is pinned: set `sha256`" in told
    assert told.count("no digest is pinned") == 4  # as docs/suites.md says
    assert "math-500): hub:HuggingFaceH4/MATH-500@6e4ed1a2a79a, test.jsonl is fetched from" in told


@pytest.mark.parametrize("name", CONFIGS)
def test_they_pass_plan_which_counts_what_they_sample(name: str, tmp_path: Path) -> None:
    config = load_run_config(ROOT / "configs" / f"{name}.yaml")
    steps = {step.name: step for step in plan(config, tmp_path)}
    asked = 2 * 30 * 16 + 500 * 4 + 1319 + 1000 + 198 * 8  # reasoning
    asked += 100 * 4 + 313 + 2000 + 500 + 200 + 250 + 1319 + 500  # safety and over-refusal
    assert steps["evaluate/base"].completions == steps["evaluate/dgr"].completions == asked
    assert steps["refine"].completions == 2000


@pytest.mark.parametrize("name", CONFIGS)
def test_every_safety_suite_has_two_judges(name: str) -> None:
    suites = load_run_config(ROOT / "configs" / f"{name}.yaml").evaluate.suites
    assert {len(suite.judges) for suite in suites if suite.kind != "reasoning"} == {2}


def test_a_mirror_that_lacks_a_file_fails_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DGR_MIRROR", str(tmp_path / "mirror"))
    config = load_run_config(
        ROOT / "configs" / "s1.1-7b.yaml", ["data.file=train.parquet", f"data.revision={'a' * 40}"]
    )
    told = [check.sentence for check in check_run(config, tmp_path) if not check.passed]
    assert len(told) == 1 + len(config.evaluate.suites)
    assert f"mirror/TianshengHuang/DirectRefusal/{'a' * 40}/train.parquet" in told[0]


def stand_in(config: dict[str, Any], model: Path) -> dict[str, Any]:
    """The config with other weights, a rule for the judges, and a handful of local questions."""
    few = {"limit": 2, "samples": 1, "sampling": {"max_new_tokens": 12}}
    evaluate = {key: value for key, value in config["evaluate"].items() if key != "judges"}
    suites = [
        {**suite, **few, "path": str(DATA / LOCAL[suite["use"]])}
        for suite in evaluate["suites"]
        if suite["use"] in LOCAL
    ]
    for suite in suites:
        if suite.pop("judges", None):
            suite["judge"] = "refusal"
    thinking = config["engine"].get("thinking", "auto")
    return {
        **config,
        "model": str(model),
        "engine": {"threads": 1, "thinking": thinking},
        "evaluate": {**evaluate, "suites": suites},
    }


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_stand_in_is_evaluated_on_local_files(
    name: str, tiny_qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_qwen, model)
    if name.startswith("r1"):
        (model / "chat_template.jinja").write_text(R1_LIKE)
    path = tmp_path / "run.yaml"
    config = load_mapping(ROOT / "configs" / f"{name}.yaml")
    path.write_text(yaml.safe_dump(stand_in(config, model)))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["dgr", "evaluate", str(path), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    records = list(read_records(out / "records.jsonl", EvalRecord))
    assert {record.suite for record in records} == set(LOCAL)
    assert len(records) == 2 * len(LOCAL)
    # Random weights end no trace in 12 tokens: cut, unread, and neither right nor a refusal.
    assert {record.finish for record in records} == {Finish.LENGTH}
    assert not any(record.parsed or record.correct for record in records)
    summary = read_json(out / "summary.json")
    assert summary["metrics"]["reasoning_accuracy"]["value"] == 0
    assert summary["metrics"]["harmful_unparseable"]["value"] == 1

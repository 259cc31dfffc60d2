"""Every bad input gives one clear sentence and exit code 2, and leaves nothing half-written."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgr.cli import main

ROOT = Path(__file__).parents[2]
NANO = ROOT / "configs" / "nano.yaml"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def dgr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process; gives back exit code and standard error."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dgr", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), capsys.readouterr().err.strip()

    return run


def one_sentence(code: int, error: str, *parts: str) -> None:
    assert code == 2
    assert error.startswith("dgr: ") and "\n" not in error and "Traceback" not in error, error
    for part in parts:
        assert part in error, error


def nano(tmp_path: Path, **changes: Any) -> Path:
    """The demo's config with `section__key` values changed."""
    config = yaml.safe_load(NANO.read_text())
    for dotted, value in changes.items():
        *sections, last = dotted.split("__")
        target = config
        for section in sections:
            target = target.setdefault(section, {})
        target[last] = value
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_missing_config(dgr: Run, tmp_path: Path) -> None:
    one_sentence(*dgr("run", tmp_path / "no.yaml"), "no.yaml does not exist")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("[1, 2]", "not a mapping"),
        ("name: [", "not valid YAML"),
        ("name: nano\nmodle: x", "modle: no such key"),
    ],
)
def test_config_that_is_none(dgr: Run, tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    code, error = dgr("run", path)
    one_sentence(code, error, str(path))
    if "no such key" not in complaint:
        assert complaint in error


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sft__learning_rat": 1e-3}, "sft.learning_rat: no such key"),
        ({"sft__learning_rate": -1}, "sft.learning_rate"),
        ({"gate": {"cut_max": 7}}, "gate.cut_max"),
        ({"name": "No Spaces"}, "name"),
        ({"candidate": "vanila"}, "vanila"),
        ({"arms__arms": ["dgr", "dgrr"]}, "arms"),
        ({"refine__trace_template": "no placeholder"}, "refine"),
        ({"seed": -3}, "seed"),
    ],
)
def test_bad_field(dgr: Run, tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    one_sentence(*dgr("run", nano(tmp_path, **changes), "--runs", tmp_path / "runs"), field)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("override", ["sft.epochs", "sft.epoch=3", "nosuch.key=1", "sft.epochs=x"])
def test_bad_override(dgr: Run, override: str) -> None:
    one_sentence(*dgr("run", NANO, "--set", override))


def test_missing_data_set_and_suite_are_told_together(dgr: Run, tmp_path: Path) -> None:
    config = nano(tmp_path, data__source=str(tmp_path / "none.jsonl"))
    one_sentence(*dgr("run", config, "--runs", tmp_path / "runs"), "none.jsonl", "data.source")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [("", "no row"), ('{"prompt": "x"}\n', "line 1"), ("not json\n", "line 1")],
)
def test_bad_data_set(dgr: Run, tmp_path: Path, rows: str, complaint: str) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(rows)
    out = tmp_path / "out"
    code, error = dgr("ingest", nano(tmp_path, data__source=str(data)), "--out", out)
    one_sentence(code, error, "rows.jsonl", complaint)
    assert not (out / "manifest.json").exists() and not (out / "records.jsonl").exists()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_incomplete_model_folder(dgr: Run, tmp_path: Path, missing: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(ROOT / "models" / "nano-lrm", model, ignore=shutil.ignore_patterns("data"))
    (model / missing).unlink()
    code, error = dgr("run", nano(tmp_path, model=str(model)), "--runs", tmp_path / "runs")
    one_sentence(code, error, str(model))


def test_model_without_chat_template(dgr: Run, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(ROOT / "models" / "nano-lrm", model, ignore=shutil.ignore_patterns("data"))
    (model / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    code, error = dgr("evaluate", nano(tmp_path, model=str(model)), "--out", tmp_path / "out")
    one_sentence(code, error, "template", str(model))


def test_output_that_is_a_file(dgr: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    one_sentence(*dgr("run", NANO, "--runs", tmp_path / "runs"), "is a file")


def test_half_written_step_is_refused_as_input(dgr: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "records.jsonl").write_text('{"id": "x", "quest')
    code, error = dgr("refine", NANO, "--data", tmp_path / "data", "--out", tmp_path / "out")
    one_sentence(code, error, "data")


def test_unknown_flag_is_one_sentence(dgr: Run) -> None:
    code, error = dgr("run", NANO, "--no-such-flag")
    one_sentence(code, error, "--no-such-flag")


def test_full_disk(dgr: Run, small_disk: Path) -> None:
    code, error = dgr("ingest", NANO, "--out", small_disk / "out")
    one_sentence(code, error, "No space left")
    assert not (small_disk / "out" / "manifest.json").exists()


def test_a_width_that_no_model_has(dgr: Run, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    one_sentence(*dgr("nano", "train", "--width", "15", "--folder", folder), "multiple of 8")
    assert not folder.exists()

"""`dgr models`: from candidate to champion and back, as a person types it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dgr.cli import main
from tests.registry.candidates import candidate, opened
from tests.registry.conftest import empty_store, run, runs
from tests.registry.test_moving import digest_of, folder_of

__all__ = ["empty_store", "run", "runs"]

Dgr = Callable[..., tuple[int, str, str]]


@pytest.fixture
def models(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Dgr:
    """Runs `dgr models ...` beside a folder of runs: exit code, output, errors. One champion and
    one candidate are there."""
    candidate(run, "one")
    monkeypatch.chdir(run.parent.parent)

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dgr", "models", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        out, error = capsys.readouterr()
        return int(stop.value.code or 0), out.strip(), error.strip()

    assert command("approve", "small-safe", "--why", "ok", "--by", "ada")[0] == 0
    assert command("promote", "small-safe")[0] == 0
    candidate(run, "two", champion=digest_of(opened(run), "1"))
    return command


def test_approve_promote_and_roll_back(models: Dgr) -> None:
    assert models("approve", "small-safe", "--why", "fine", "--by", "bob") == (
        0, "small-safe v2 approved by bob: fine", "",
    )  # fmt: skip
    assert models("promote", "small-safe", "--by", "bob")[1] == "small-safe v2 promoted by bob"
    lines = models("list")[1].splitlines()
    assert [line.split()[1:4] for line in lines] == [
        ["v2", "champion", "champion"],
        ["v1", "previous", "previous"],
    ]
    code, out, _ = models("rollback", "small-safe", "--why", "it is rude", "--by", "eve")
    assert (code, out) == (0, "small-safe rolled back to v1 by eve: it is rude")
    moves = json.loads(models("history", "small-safe", "--json")[1])
    assert [(move["kind"], move["version"]) for move in moves] == [
        ("registered", "1"), ("approved", "1"), ("promoted", "1"), ("registered", "2"),
        ("approved", "2"), ("promoted", "2"), ("rolled-back", "1"),
    ]  # fmt: skip
    assert (
        models("history", "small-safe")[1]
        .splitlines()[-1]
        .endswith("small-safe rolled back to v1 by eve: it is rude")
    )


def test_what_cannot_be_done_is_one_sentence(models: Dgr) -> None:
    for arguments, complaint in (
        (("promote", "small-safe", "2"), "version 2 is candidate; only what is approved"),
        (("promote", "small-safe"), "has no version 'approved'"),
        (("promote", "small-safe", "9"), "has no version '9'; it has 1, 2, candidate, champion"),
        (("approve", "nobody", "--why", "x"), "nobody has no version 'candidate'; it has none"),
        (("rollback", "small-safe", "--why", "x"), "no champion before the one of now"),
        (("approve", "no/name", "--why", "x"), "the model's name: name"),
    ):
        code, out, error = models(*arguments)
        assert (code, out) == (2, "")
        assert error.startswith("dgr: ") and "\n" not in error and complaint in error, error


def test_verify_and_fsck_tell_what_is_damaged(models: Dgr, run: Path) -> None:
    code, out, _ = models("verify", "small-safe")
    assert code == 0 and out.startswith("small-safe v1 (champion): 5 files, ")
    assert models("fsck", "small-safe", "--deep")[:2] == (0, "small-safe: no disagreements")
    weights = folder_of(opened(run), "1") / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"eno")
    code, _, error = models("verify", "small-safe")
    assert code == 2 and "model.safetensors was changed" in error
    code, out, _ = models("fsck", "small-safe", "--deep")
    assert code == 3 and "model.safetensors was changed" in out
    assert out.endswith("small-safe: 1 disagreement")


def test_gc_lists_and_only_on_demand_removes(models: Dgr, run: Path) -> None:
    models("reject", "small-safe", "--why", "no")
    folder = folder_of(opened(run), "2")
    told = models("gc", "small-safe", "--keep", "0", "--days", "0")[1]
    assert told.startswith("would remove v2 (rejected), ")
    assert folder.is_dir() and (folder / "manifest.json").is_file()
    assert models("gc", "small-safe")[1] == "nothing to remove"
    told = models("gc", "small-safe", "--keep", "0", "--days", "0", "--delete")[1]
    assert told.startswith("removed v2 (rejected), ")
    assert not list(folder.glob("*"))
    assert models("fsck", "small-safe")[0] == 0


def test_diff_shows_what_differs(models: Dgr) -> None:
    out = models("diff", "small-safe", "1", "2")[1]
    assert any(line.startswith("file model.safetensors: ") for line in out.splitlines())
    found = json.loads(models("diff", "small-safe", "champion", "candidate", "--json")[1])
    assert {"what", "before", "after"} == set(found[0])


def test_looking_makes_no_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for arguments in (["history", "x"], ["promote", "x"], ["fsck", "x"], ["list"]):
        monkeypatch.setattr(sys, "argv", ["dgr", "models", *arguments])
        with pytest.raises(SystemExit):
            main()
        out, error = capsys.readouterr()
        assert "runs holds no registry" in error or "no models are registered" in out
    assert list(tmp_path.iterdir()) == []


def test_another_folder_of_runs_can_be_named(
    models: Dgr, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert models("list", "--runs", str(run.parent))[1].startswith("small-safe  v2  candidate")
    shown = models("show", "small-safe", "champion", "--runs", str(run.parent))[1]
    assert "version: 1" in shown.splitlines()

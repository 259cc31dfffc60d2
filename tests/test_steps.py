import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.records import Sample
from dgr.settings import Settings
from dgr.steps import StepFolder, manifest_digest, verify


class Config(Settings):
    """A step's config."""

    knob: int = 1


def row(key: str) -> Sample:
    return Sample(id=key, question="q", trace="t", answer="a")


def run_step(out: Path, source: Path, knob: int = 1, seed: int = 0) -> bool:
    """Runs a tiny step; tells whether it worked or found itself done."""
    with StepFolder(out, "tiny", Config(knob=knob), {"data": source}, seed) as step:
        if step.finished:
            return False
        step.finish({"rows": 1}, {"records.jsonl": [row("a")]})
    return True


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("input")
    return path


def test_manifest_names_every_file_and_is_repeatable(tmp_path: Path, source: Path) -> None:
    run_step(tmp_path / "one", source)
    run_step(tmp_path / "two", source)
    manifest = verify(tmp_path / "one")
    assert set(manifest["files"]) == {"records.jsonl", "summary.json"}
    assert manifest_digest(tmp_path / "one") == manifest_digest(tmp_path / "two")
    assert not (tmp_path / "one" / ".work").exists()


def test_garbage_is_collected_seldom_within_a_step_alone(tmp_path: Path, source: Path) -> None:
    usual = gc.get_threshold()
    with StepFolder(tmp_path / "out", "tiny", Config(), {"data": source}, 0):
        assert gc.get_threshold()[0] > usual[0]
    assert gc.get_threshold() == usual


def test_finished_step_is_found_again_unless_anything_changed(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    assert run_step(out, source)
    assert not run_step(out, source)
    assert run_step(out, source, knob=2)
    assert run_step(out, source, knob=2, seed=1)
    source.write_text("other input")
    assert run_step(out, source, knob=2, seed=1)


def test_changed_result_is_refused(tmp_path: Path, source: Path) -> None:
    run_step(tmp_path / "out", source)
    (tmp_path / "out" / "records.jsonl").write_text("tampered")
    with pytest.raises(UserError, match=r"records\.jsonl was changed"):
        verify(tmp_path / "out")


def test_folder_without_manifest_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="has not finished"):
        verify(tmp_path)


def test_file_in_the_place_of_the_folder(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UserError, match="is a file; choose a folder"):
        run_step(source, source)


KILLED = """
    import os, signal, sys, time
    from pathlib import Path
    from dgr.records import Sample
    from dgr.steps import StepFolder
    from tests.test_steps import Config, row
    out, source = map(Path, sys.argv[1:])
    with StepFolder(out, "tiny", Config(), {"data": source}, 0) as step:
        journal = step.journal("rows.jsonl", Sample, key=lambda row: row.id)
        journal.add(row("a"))
        journal.add(row("b"))
        [file] = step.work.glob("*.jsonl")
        while file.read_bytes().count(b"\\n") < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_journal_survives_kill_and_drops_the_cut_line(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(out), str(source)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    (journal_file,) = (out / ".work").glob("*/rows.jsonl")
    with journal_file.open("a") as file:
        file.write('{"id": "cut')
    with StepFolder(out, "tiny", Config(), {"data": source}, 0) as step:
        journal = step.journal("rows.jsonl", Sample, key=lambda row: row.id)
        assert list(journal.rows) == ["a", "b"]
        journal.add(row("c"))
        step.finish({}, {"records.jsonl": journal.rows.values()})
    lines = (out / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b", "c"]


def test_other_config_does_not_see_the_unfinished_work(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    with StepFolder(out, "tiny", Config(), {"data": source}, 0) as step:
        step.journal("rows.jsonl", Sample, key=lambda row: row.id).add(row("a"))
    with StepFolder(out, "tiny", Config(knob=2), {"data": source}, 0) as step:
        assert not step.journal("rows.jsonl", Sample, key=lambda row: row.id).rows


def test_two_processes_do_not_share_a_step(tmp_path: Path, source: Path) -> None:
    with (
        StepFolder(tmp_path / "out", "tiny", Config(), {"data": source}, 0),
        pytest.raises(UserError, match="another process"),
        StepFolder(tmp_path / "out", "tiny", Config(), {"data": source}, 0),
    ):
        pass

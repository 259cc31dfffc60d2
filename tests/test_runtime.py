"""The frame of a component, without KFP."""

import errno
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig
from dgr.errors import Interrupted, UserError
from dgr.files import canonical_json
from dgr.runtime import ERROR_ENV, SKIPPED, UNPUBLISHED, Component, StepSettings, local_run
from dgr.settings import Settings
from dgr.shards import Shard
from dgr.steps import StepFolder, manifest_digest
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]


class Terms(Settings):
    """Stands for a step's config."""

    k: int = 2


@dataclass
class Fake:
    """An artifact as KFP makes one."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


def settings(run: Path | str, **more: Any) -> str:
    made = StepSettings(config={"k": 3}, seed=7, run=str(run), **more)
    return canonical_json(made.model_dump(mode="json"))


def work(step: Component) -> None:
    with StepFolder(step.out, "work", step.read(Terms), inputs={}, seed=step.seed) as folder:
        (step.out / "model").mkdir()
        (step.out / "model" / "weights").write_text("weights")
        folder.finish({"k": step.read(Terms).k}, {})


def test_a_finished_step_is_published_with_its_digest(tmp_path: Path) -> None:
    out = Fake(str(tmp_path / "kfp" / "out"))
    with Component(settings(tmp_path / "run"), out, "sft/dgr") as step:
        work(step)
    published = tmp_path / "run" / "sft" / "dgr"
    assert json.loads((published / "summary.json").read_text()) == {"k": 3}
    digest = manifest_digest(published)
    assert out.metadata == {"digest": digest, "step": "sft", "arm": "dgr"}
    with Component(settings(tmp_path / "run"), Fake(str(tmp_path / "next")), "next") as step:
        assert step.input(out) == Path(out.path)
        assert step.inputs([out]) == {"dgr": Path(out.path)}
        work(step)


def test_a_shard_is_told_apart_and_not_published(tmp_path: Path) -> None:
    parts = [Fake(str(tmp_path / name)) for name in ("1", "2")]
    for place, out in enumerate(parts, 1):
        with Component(settings(tmp_path / "run"), out, "evaluate/dgr", f"{place}/2") as step:
            assert step.shard == Shard(place, 2)
            work(step)
    assert {out.metadata[UNPUBLISHED] for out in parts} == {"true"}
    assert {out.metadata["arm"] for out in parts} == {"dgr"}
    assert not (tmp_path / "run").exists()


def test_an_input_that_was_changed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Fake(str(tmp_path / "out"))
    with Component(settings(tmp_path / "run"), out, "first") as step:
        work(step)
    out.metadata["digest"] = "another"
    with (
        pytest.raises(SystemExit) as stop,
        Component(settings(tmp_path / "run"), Fake(str(tmp_path / "b")), "second") as step,
    ):
        step.input(out)
    assert stop.value.code == 2
    assert "was changed" in capsys.readouterr().err


def test_a_step_that_is_not_wanted_leaves_a_mark(tmp_path: Path) -> None:
    out = Fake(str(tmp_path / "out"))
    with Component(settings(tmp_path / "run", wanted=False), out, "refine") as step:
        assert not step.wanted
    assert [path.name for path in Path(out.path).iterdir()] == [SKIPPED]
    assert not (tmp_path / "run").exists()
    with Component(settings(tmp_path / "run"), Fake(str(tmp_path / "next")), "next") as step:
        assert step.optional_input(out) is None
        work(step)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("name another file"), 2, "dgr: refine: name another file"),
        (OSError(errno.ENOSPC, "No space left", "/x"), 2, "dgr: refine: cannot write /x"),
        (Interrupted(15, "half way"), 143, "dgr: refine: stopped by a signal half way"),
    ],
)
def test_an_error_to_tell_ends_the_process_with_its_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    monkeypatch.setenv(ERROR_ENV, str(tmp_path / "error.txt"))
    out = Fake(str(tmp_path / "out"))
    with pytest.raises(SystemExit) as stop, Component(settings(tmp_path / "run"), out, "refine"):
        raise error
    assert stop.value.code == code
    assert capsys.readouterr().err.startswith(told)
    assert ("dgr: " + (tmp_path / "error.txt").read_text()).startswith(told)
    assert not (tmp_path / "run").exists()
    assert out.metadata == {}


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        Component(settings(tmp_path / "run"), Fake(str(tmp_path / "out")), "refine"),
    ):
        raise ZeroDivisionError


def test_settings_are_read_into_their_models(tmp_path: Path) -> None:
    told = settings(tmp_path, engine={"batch_size": 3}, options={"candidate": "dgr"})
    step = Component(told, Fake(str(tmp_path / "out")), "gate")
    assert step.engine == TransformersConfig(batch_size=3)
    assert step.options == {"candidate": "dgr"}
    assert step.runs == tmp_path.parent
    with pytest.raises(UserError, match="seed: Field required"):
        Component(told.replace('"seed"', '"sead"'), Fake("x"), "gate")


def test_a_run_in_a_store_comes_without_other_steps_weights(s3: str, tmp_path: Path) -> None:
    place = f"{s3}/{tmp_path.name}/nano"
    for arm in ("vanilla", "dgr"):
        out = Fake(str(tmp_path / arm))
        with Component(settings(place), out, f"sft/{arm}") as step:
            work(step)
            assert step.runs is None
    with local_run(place, ["sft/dgr"]) as folder:
        assert folder.name == "nano"
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("weights")}
        assert found == {"sft/dgr/model/weights"}
        assert (folder / "sft" / "vanilla" / "manifest.json").is_file()
    assert not folder.exists()

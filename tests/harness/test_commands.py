from pathlib import Path

import pytest

from dgr.engines import TransformersConfig, load_engine
from tests.cli.conftest import ROOT, Command, command

pytest.importorskip("inspect_ai", reason="needs dgr[inspect]")

__all__ = ["command"]


def test_logs_of_a_run(command: Command, evaluation: Path, tmp_path: Path) -> None:
    done = command("logs", evaluation.parents[1], "--out", tmp_path)
    assert done.code == 0
    assert sorted(path.name for path in (tmp_path / "base").iterdir()) == [
        "harm.eval",
        "plain.eval",
        "sums.eval",
    ]
    nothing = command("logs", tmp_path)
    assert nothing.code == 2 and "holds no finished evaluation" in nothing.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--log", "reasoning"], "write it as SUITE=LOG"),
        (["--log", "reasoning=a.eval"], "name a log for each suite"),
    ],
)
def test_import_asks_for_every_suite(
    command: Command, tmp_path: Path, flags: list[str], said: str
) -> None:
    out = tmp_path / "out"
    done = command(
        "import", "configs/nano.yaml", "--model", "models/nano-lrm", "--out", out, *flags
    )
    assert done.code == 2 and said in done.err and not out.exists()


def test_inspects_own_name_for_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its entry point makes it known."""
    from inspect_ai.model import get_model

    import dgr.harness.provider

    monkeypatch.chdir(ROOT)
    loaded = load_engine(TransformersConfig(), ROOT / "models" / "nano-lrm")
    monkeypatch.setattr(dgr.harness.provider, "load_engine", lambda *_: loaded)
    model = get_model("dgr/models/nano-lrm", engine={"threads": 1}, memoize=False)
    assert type(model.api).__name__ == "DgrAPI"
    assert model.api.model_name == "models/nano-lrm"

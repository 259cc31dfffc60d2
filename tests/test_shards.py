"""Shards of refine and evaluate, merged: the bytes of one process, or why they are not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dgr.cli import steps as cli
from dgr.engines import TransformersConfig
from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.evaluate import merge as merge_evaluations
from dgr.evaluate import step as evaluate_step
from dgr.files import canonical_json, read_json
from dgr.merging import Union
from dgr.records import Sample
from dgr.refine import RefineConfig, merge, refine
from dgr.refine import step as refine_step
from dgr.settings import Settings
from dgr.shards import Shard, places, share
from dgr.steps import StepFolder, manifest_digest
from tests.fakes import ScriptedEngine, install

ROWS = 11

Run = Callable[..., None]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Refine with a target whose words hang on the request's seed."""
    monkeypatch.setattr(refine_step, "WINDOW", 2)
    script = lambda request: (f"No help, {request.seed}.", f"I can't help, {request.seed}.")  # noqa: E731
    install(monkeypatch, refine_step, ScriptedEngine(script))
    rows = [Sample(id=f"r/{n}", question=f"Q {n}?", trace="No.", answer="No!") for n in range(ROWS)]
    with StepFolder(tmp_path / "data", "ingest", Settings(), inputs={}, seed=0) as step:
        step.finish({}, {"records.jsonl": rows})

    def run(out: str, shard: str = "", config: Any = None, seed: int = 0) -> None:
        refine(
            RefineConfig.model_validate({"max_new_tokens": 40} | (config or {})),
            engine=TransformersConfig(),
            model=model,
            data=tmp_path / "data",
            out=tmp_path / out,
            seed=seed,
            shard=Shard.parse(shard),
        )

    return run


@pytest.mark.parametrize("count", [2, 4, 13])  # 13: some have no row
def test_merged_shards_are_the_whole_to_the_byte(run: Run, tmp_path: Path, count: int) -> None:
    run("whole")
    for index in range(1, count + 1):
        run(f"part-{index}", f"{index}/{count}")
    parts = [tmp_path / f"part-{index}" for index in range(count, 0, -1)]  # in any order
    merge(parts, out=tmp_path / "merged")
    for name in ("records.jsonl", "summary.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert manifest_digest(tmp_path / "merged") == manifest_digest(tmp_path / "whole")
    assert (
        read_json(tmp_path / "merged" / "timing.json")["generated_tokens"]
        == (read_json(tmp_path / "whole" / "timing.json")["generated_tokens"])
    )
    # The merged folder is the step's own: it is not done again, nor is a part of it.
    before = (tmp_path / "merged" / "timing.json").read_bytes()
    run("merged")
    assert (tmp_path / "merged" / "timing.json").read_bytes() == before


def test_a_shard_without_rows_starts_no_engine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine_step, "load_engine", lambda *_: pytest.fail("an engine started"))
    run("empty", f"{ROWS + 1}/{ROWS + 1}")


def test_what_is_no_whole_is_refused(run: Run, tmp_path: Path) -> None:
    run("whole")
    for index in (1, 2):
        run(f"part-{index}", f"{index}/2")
    run("other-config", "2/2", config={"candidates": 2})
    run("other-seed", "2/2", seed=1)
    run("third", "3/3")
    shutil.copytree(tmp_path / "part-2", tmp_path / "changed")
    with (tmp_path / "changed" / "records.jsonl").open("a") as file:
        file.write("\n")
    cases = {
        ("part-1",): "shard 2/2 is missing",
        ("part-1", "whole"): "holds no shard of refine",
        ("part-1", "part-1"): "shard 2/2 is missing",
        ("part-1", "third"): "shards of 2 and 3",
        ("part-1", "other-config"): "differ in their config",
        ("part-1", "other-seed"): "differ in their seed",
        ("part-1", "changed"): "was changed after it was written",
        ("part-2", "other-seed"): "are both shard 2/2",
    }
    for names, why in cases.items():
        with pytest.raises(UserError, match=why):
            merge([tmp_path / name for name in names], out=tmp_path / "merged")
        assert not (tmp_path / "merged" / "manifest.json").exists()


def forged(folder: Path, shard: str, ids: list[str], identity: dict[str, Any]) -> Path:
    """A finished shard with rows that are not its own."""
    rows = [{"id": name, "question": "", "trace": "", "answer": ""} for name in ids]
    with StepFolder.of(folder, identity | {"shard": shard}) as step:
        step.finish({}, {"records.jsonl": [Sample.model_validate(row) for row in rows]})
    return folder


@pytest.fixture
def joined(tmp_path: Path) -> Callable[..., Union]:
    """Two finished shards with the rows of those names."""
    with StepFolder(tmp_path / "none", "refine", Settings(), inputs={}, seed=0) as step:
        identity = step.identity

    def join(*rows: list[str]) -> Union:
        parts = [
            forged(tmp_path / str(number), f"{number}/2", ids, identity)
            for number, ids in enumerate(rows, start=1)
        ]
        return Union(parts, "refine")

    return join


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [(["a", "b"], ["a"], "a is there twice"), (["a"], ["b", "c"], "has too few rows")],
)
def test_rows_that_overlap_or_lack_are_refused(
    joined: Callable[..., Union], first: list[str], second: list[str], why: str
) -> None:
    with pytest.raises(UserError, match=why):
        list(joined(first, second).rows(Sample, lambda row: row.id))


def test_lines_are_copied_in_turn_if_every_shard_has_as_many_as_are_due(
    joined: Callable[..., Union],
) -> None:
    found = [Sample.model_validate_json(line).id for line in joined(["a", "c"], ["b"]).lines()]
    assert found == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"/1 does not fit .*: it has 1 rows where 2 are due"):
        list(joined(["a"], ["b", "c"]).lines())


def test_shards_are_named_rightly() -> None:
    assert Shard.parse("1/1") is Shard.parse("") is None
    assert list(share("abcdefgh", Shard(2, 3))) == ["b", "e", "h"]
    assert list("abcdefgh"[places(Shard(2, 3), done=1)]) == ["e", "h"]
    assert list("abcdefgh"[places(None, done=6)]) == ["g", "h"]
    for text in ("0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", "1/99999"):
        with pytest.raises(UserError, match="write it as i/n"):
            Shard.parse(text)


def test_evaluations_merge_by_question_over_all_suites(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = lambda request: (f"Think {request.seed}.", f"I can't say {request.seed}.")  # noqa: E731
    install(monkeypatch, evaluate_step, ScriptedEngine(script))
    asks = [{"id": str(n), "question": f"Do act {n}.", "answer": str(n)} for n in range(5)]
    path = tmp_path / "suite.jsonl"
    path.write_text("".join(canonical_json(ask) + "\n" for ask in asks))
    sums = {"name": "sums", "kind": "reasoning", "scorer": "number", "path": str(path)}
    harm = {"name": "harm", "kind": "harmful", "judge": "refusal", "path": str(path), "limit": 2}
    config = EvaluateConfig.model_validate({"suites": [sums | {"samples": 3}, harm]})
    for shard in (None, *Shard.all(2), *Shard.all(9)):  # the last two of nine have no question
        out = tmp_path / str(shard).replace("/", "-")
        evaluate(config, engine=TransformersConfig(), model=model, out=out, seed=0, shard=shard)
    for count in (2, 9):
        parts, merged = sorted(tmp_path.glob(f"?-{count}")), tmp_path / f"merged-{count}"
        cli.merge(parts, merged)
        assert manifest_digest(merged) == manifest_digest(tmp_path / "None")
        assert read_json(merged / "timing.json")["shards"] == count
    with pytest.raises(UserError, match="no shard of evaluate"):
        merge_evaluations([tmp_path / "1-2", tmp_path / "None"], out=tmp_path / "again")
    task = {"name": "t", "kind": "reasoning", "task": "t.py", "score": "match"}
    foreign = EvaluateConfig.model_validate({"suites": [harm], "tasks": [task]})
    (tmp_path / "t.py").write_text("")
    monkeypatch.chdir(tmp_path)
    shard, engine = Shard.parse("1/2"), TransformersConfig()
    with pytest.raises(UserError, match="cannot be split"):
        evaluate(foreign, engine=engine, model=model, out=tmp_path / "f", seed=0, shard=shard)

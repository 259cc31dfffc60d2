"""A place that runs come back to: the cache may answer, and never with another run's step."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp.dsl.graph_component import GraphComponent

from dgr.shards import ShardsConfig
from dgr.storage import open_store
from pipelines import place as module
from pipelines.align import align, align_of
from pipelines.compile import text_of
from pipelines.place import BEFORE, begin

UNCACHED = {"champion", "record", "register", "finish"}


def told(arms: tuple[str, ...] = ("vanilla", "dgr"), **sections: str) -> dict[str, Any]:
    settings = {
        f"{step}_settings": json.dumps({"config": sections.get(step, ""), "options": {"a": 1}})
        for step in (*BEFORE, *UNCACHED)
    }
    return {"arms": list(arms), **settings}


def turns(found: dict[str, Any]) -> dict[str, str]:
    return {step: json.loads(found[f"{step}_settings"])["options"]["turn"] for step in BEFORE}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {step for step in BEFORE if before[step] != after[step]} - {"gate"}


def test_what_is_told_the_same_keeps_its_turn_but_the_gate(tmp_path: Path) -> None:
    place = str(tmp_path / "run")
    first, again = begin(place, told()), begin(place, told())
    assert changed(turns(first), turns(again)) == set()
    assert turns(first)["gate"] != turns(again)["gate"]
    assert json.loads(first["sft_settings"])["options"]["a"] == 1
    assert {name: first[name] for name in ("arms", "finish_settings")} == {
        name: told()[name] for name in ("arms", "finish_settings")
    }


def test_a_change_reaches_what_comes_after_it_and_comes_back_anew(tmp_path: Path) -> None:
    place = str(tmp_path / "run")
    first = turns(begin(place, told()))
    other = turns(begin(place, told(sft="b")))
    back = turns(begin(place, told()))
    assert changed(first, other) == changed(other, back) == {"sft", "evaluate", "drift"}
    assert changed(first, back) == {"sft", "evaluate", "drift"}
    assert changed(back, turns(begin(place, told(refine="b")))) == {
        "refine", "shift", "arm", "sft", "evaluate", "drift",
    }  # fmt: skip


def test_a_place_that_was_emptied_and_a_fresh_run_share_nothing(tmp_path: Path) -> None:
    first = turns(begin(str(tmp_path / "one"), told()))
    other = turns(begin(str(tmp_path / "two"), told()))
    fresh = turns(begin(str(tmp_path / "one"), told(), fresh=True))
    assert changed(first, other) == changed(first, fresh) == set(BEFORE) - {"gate"}
    assert changed(fresh, turns(begin(str(tmp_path / "one"), told()))) == set()


def test_nothing_of_another_config_stays(tmp_path: Path) -> None:
    place = str(tmp_path / "run")
    begin(place, told())
    store = open_store(place)
    kept = ["arms/dgr/rows.jsonl", "evaluate/base/summary.json", "evaluate/champion/summary.json",
            "ingest/records.jsonl", "shift/summary.json"]  # fmt: skip
    gone = ["arms/dgr-drop/rows.jsonl", "decision.json", "drift/summary.json",
            "evaluate/dgr/summary.json", "gate/decision.json", "record/summary.json",
            "register/summary.json", "report.html", "run.json", "sft/dgr/model/config.json",
            "sft/dgr-drop/summary.json"]  # fmt: skip
    for key in (*kept, *gone):
        store.create_text(key, "{}")
    begin(place, told(sft="b"))
    assert store.list() == [*kept, "submitted.json"]


def test_an_arm_that_comes_back_is_made_again_and_a_new_one_disturbs_none(tmp_path: Path) -> None:
    place = str(tmp_path / "run")
    both, three = ("vanilla", "dgr"), ("vanilla", "dgr", "dgr-drop")
    first, more, less, back, again = (
        turns(begin(place, told(arms))) for arms in (both, three, both, three, three)
    )
    assert changed(first, more) == changed(more, less) == changed(back, again) == set()
    assert changed(less, back) == {"arm", "sft", "evaluate"}


def test_what_was_removed_before_a_crash_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "run")
    first = turns(begin(place, told()))
    open_store(place).create_text("sft/dgr/summary.json", "{}")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_clear", lambda *_: pytest.fail("crash"))
        with pytest.raises(pytest.fail.Exception):
            begin(place, told(sft="b"))
    assert changed(first, turns(begin(place, told()))) == {"sft", "evaluate", "drift"}


def reads(pipeline: GraphComponent) -> Iterator[tuple[str, str]]:
    """(step, step whose result it reads) of the pipeline, by the parameters of their settings."""
    spec = yaml.safe_load(text_of(pipeline))
    tasks = {
        name: task
        for part in (spec["root"], *spec["components"].values())
        for name, task in part.get("dag", {}).get("tasks", {}).items()
    }
    told = {
        name: task["inputs"]["parameters"]["settings"]["componentInputParameter"]
        for name, task in tasks.items()
        if "settings" in task.get("inputs", {}).get("parameters", {})
    }
    # Within a pipeline of the pipeline, settings are called settings.
    named = {
        name: settings.removeprefix("pipelinechannel--").removesuffix("_settings")
        for name, settings in told.items()
        if settings.endswith("_settings")
    }
    for name, step in named.items():
        for source in tasks[name]["inputs"].get("artifacts", {}).values():
            output = source.get("taskOutputArtifact", {})
            key = source.get("componentInputArtifact") or output["outputArtifactKey"]
            match = re.fullmatch(r"pipelinechannel--(.+)-out", key)
            yield step, named[match[1] if match else output["producerTask"]]


@pytest.mark.parametrize("pipeline", [align, align_of(ShardsConfig(refine=2, evaluate=2))])
def test_the_order_of_the_steps_is_that_of_the_pipeline(pipeline: GraphComponent) -> None:
    def all_before(step: str) -> set[str]:
        return set(BEFORE[step]).union(*map(all_before, BEFORE[step]))

    found = list(reads(pipeline))
    assert {"arm", "refine", "evaluate", "drift", "gate"} <= {step for step, _ in found}
    for step, read in found:
        assert step in UNCACHED or read == step or read in all_before(step), (step, read)
    names = {name.removesuffix("_settings") for name in pipeline.component_spec.inputs}
    assert names == {*BEFORE, *UNCACHED, "arms"}

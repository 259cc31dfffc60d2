"""Model versions and their bundles."""

import json
from pathlib import Path
from typing import Any

import pytest

from dgr.errors import UserError
from dgr.files import read_json, sha256_file
from dgr.registry import RegistryConfig, list_models, register, show_model
from dgr.storage import open_store
from tests.registry.conftest import decide, train
from tests.registry.test_record import recorded

CONFIG = RegistryConfig(name="small-safe")


def registered(run: Path, name: str = "register", config: RegistryConfig = CONFIG) -> Any:
    out = run / name
    register(
        config,
        run=run,
        decision=run / "gate",
        recorded=run / "record",
        base="org/base",
        home=run.parent,
        out=out,
        seed=0,
    )
    return json.loads((out / "records.jsonl").read_text())


@pytest.fixture
def known(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, recorded; commands run where its folder of runs is."""
    recorded(run)
    monkeypatch.chdir(run.parent.parent)
    return run


def test_the_candidate_becomes_a_version(known: Path) -> None:
    made = registered(known)
    bundle = Path(made["source"].removeprefix("file://"))
    manifest = read_json(bundle / "manifest.json")
    assert bundle.parent == known.parent / "store" / "models" / "small-safe"
    assert manifest["files"] == {
        path.relative_to(bundle).as_posix(): sha256_file(path)
        for path in bundle.iterdir()
        if path.name != "manifest.json"
    }
    assert (bundle / "model.safetensors").read_bytes() == b"weights of dgr"
    assert (bundle / "decision.json").read_bytes() == (
        known / "gate" / "decision.json"
    ).read_bytes()

    [version] = list_models()
    assert version == show_model("small-safe", "candidate") == show_model("small-safe", "1")
    assert version["aliases"] == ["candidate"]
    assert version["source"] == made["source"]
    assert version["run"] == read_json(known / "record" / "summary.json")["run_id"]
    assert version["tags"]["dgr.arm"] == "dgr"
    assert version["tags"]["dgr.base"] == "org/base"


def test_the_card_tells_figures_shift_data_and_limits(known: Path) -> None:
    text = Path(registered(known)["source"].removeprefix("file://"), "README.md").read_text()
    assert text.startswith('---\nbase_model: "org/base"\n')
    assert "| Reasoning accuracy | 100.0 % [" in text
    assert "| `harmful_compliance` | passed |" in text
    assert "| refined | " in text
    assert "set.jsonl` (format plain, licence: MIT), 1 rows" in text
    assert "## Limits" in text
    assert str(known) not in text.replace(str(known.parent / "set.jsonl"), "")


def test_registering_again_makes_no_second_version(known: Path) -> None:
    assert registered(known) == registered(known, "again")
    assert len(list_models()) == 1


def test_a_rejected_candidate_is_not_registered(known: Path) -> None:
    decide(known, "vanilla")
    with pytest.raises(UserError, match="the gate rejected vanilla"):
        registered(known)
    assert list_models() == []
    assert not (known.parent / "store").exists()


def test_other_weights_than_those_decided_on_are_refused(known: Path) -> None:
    path = known / "sft" / "dgr" / "model" / "model.safetensors"
    path.write_bytes(b"other weights")
    with pytest.raises(UserError, match="was changed"):
        registered(known)
    path.unlink()
    (known / "sft" / "dgr" / "manifest.json").unlink()
    train(known, "dgr")
    (known / "sft" / "dgr" / "model" / "extra.json").write_text("{}")
    train(known, "dgr")
    with pytest.raises(UserError, match="decided on other weights"):
        registered(known)
    assert list_models() == []


def test_the_bundle_goes_to_s3(known: Path, s3: str, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"store": f"{s3}/{tmp_path.name}"})
    source = registered(known, config=config)["source"]
    assert source.startswith(f"{config.store}/models/small-safe/")
    store = open_store(source)
    assert set(store.list()) == {
        "README.md", "config.json", "decision.json", "lineage.json", "manifest.json",
        "model.safetensors",
    }  # fmt: skip
    assert show_model("small-safe", "candidate")["source"] == source


def test_looking_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert list_models() == []
    with pytest.raises(UserError, match="no version or alias 'candidate' of model 'x'"):
        show_model("x", "candidate")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_version_is_told(known: Path) -> None:
    registered(known)
    for version in ("7", "champion"):
        with pytest.raises(UserError, match=f"no version or alias '{version}'"):
            show_model("small-safe", version)


def test_a_folder_is_no_store_for_a_server(known: Path) -> None:
    config = CONFIG.model_copy(update={"tracking_uri": "http://ada:secret@mlflow.example.org"})
    with pytest.raises(UserError, match=r"set registry\.store to s3") as told:
        registered(known, config=config)
    assert "secret" not in str(told.value)


def test_a_full_disk_leaves_no_bundle_and_again_completes(known: Path, small_disk: Path) -> None:
    config = CONFIG.model_copy(update={"store": str(small_disk)})
    (small_disk / "ballast").write_bytes(bytes(48 << 10))
    with pytest.raises(UserError, match="No space left") as told:
        registered(known, config=config)
    assert "\n" not in str(told.value)
    assert not list(small_disk.rglob("manifest.json"))
    assert list_models() == []
    (small_disk / "ballast").unlink()
    registered(known, config=config)
    assert [version["tags"]["dgr.state"] for version in list_models()] == ["candidate"]

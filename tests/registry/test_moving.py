"""Approve, promote, roll back: what lets a model through, and what does not."""

import json
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.files import read_json
from dgr.registry import Registry, approve, list_models, promote, reject, rollback
from dgr.registry.registry import STATE_TAG
from dgr.signing import SigningConfig
from dgr.storage.folder import FolderStore
from tests.registry.candidates import CONFIG, POLICY, candidate, opened


def aliases(registry: Registry) -> dict[str, str]:
    found = registry.tracker.get_registered_model(registry.name).aliases
    return {alias: str(version) for alias, version in found.items()}


def digest_of(registry: Registry, version: str) -> str:
    return registry.history().versions[version].bundle


def folder_of(registry: Registry, version: str) -> Path:
    assert isinstance(registry.store, FolderStore)
    return registry.store.root / "models" / registry.name / digest_of(registry, version)


@pytest.fixture
def registry(run: Path) -> Registry:
    """With one champion, version 1."""
    candidate(run, "one")
    registry = opened(run)
    approve(registry, "candidate", reason="read the report", actor="ada")
    promote(registry, "1", reason="first", actor="ada")
    return registry


def test_a_candidate_becomes_approved_and_champion(registry: Registry) -> None:
    assert aliases(registry) == {"champion": "1"}
    moves = registry.history().moves
    assert [move.kind for move in moves] == ["registered", "approved", "promoted"]
    assert [move.place for move in moves] == [1, 2, 3]
    assert (moves[1].actor, moves[1].reason) == ("ada", "read the report")
    tags = registry.tracker.get_model_version("small-safe", "1").tags
    assert tags[STATE_TAG] == "champion"
    assert tags["dgr.bundle"] == digest_of(registry, "1")
    decision = folder_of(registry, "1") / "decision.json"
    assert moves[0].decision == tags["dgr.decision"]
    assert read_json(decision)["identity"]["champion"] is None
    assert [move.bundle for move in moves] == [digest_of(registry, "1")] * 3


def test_the_journal_is_no_model_of_the_list(
    registry: Registry, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent.parent)
    assert [version["name"] for version in list_models()] == ["small-safe"]


def test_only_what_is_approved_is_promoted(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    with pytest.raises(UserError, match="version 2 is candidate; only what is approved"):
        promote(registry, "2")
    reject(registry, "2", reason="no")
    with pytest.raises(UserError, match="version 2 is rejected"):
        promote(registry, "2")
    with pytest.raises(UserError, match="has no version 'approved'"):
        promote(registry)
    assert aliases(registry) == {"champion": "1"}


def test_a_decision_against_another_champion_is_stale(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    candidate(run, "three", champion=digest_of(registry, "1"))
    candidate(run, "blind")
    for version in "234":
        approve(registry, version, reason="ok")
    with pytest.raises(UserError, match="against champion none, and the champion is version 1"):
        promote(registry, "4")
    promote(registry, "2")
    with pytest.raises(UserError, match="against champion version 1, and the champion is"):
        promote(registry, "3")
    assert aliases(registry)["champion"] == "2"
    assert aliases(registry)["previous"] == "1"


def test_rollback_and_forward_again(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    promote(registry, "2")
    rollback(registry, reason="it is rude")
    assert aliases(registry) == {"champion": "1"}
    assert registry.history().versions["2"].state == "rolled-back"
    with pytest.raises(UserError, match="no champion before the one of now"):
        rollback(registry, reason="once more")
    approve(registry, "2", reason="it was not")
    promote(registry, "2")
    assert aliases(registry) == {"champion": "2", "previous": "1"}


def test_rollback_works_when_the_bad_version_is_damaged(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    promote(registry, "2")
    for path in folder_of(registry, "2").iterdir():
        path.unlink()
    rollback(registry, reason="its weights are gone")
    assert aliases(registry)["champion"] == "1"


def test_rollback_to_a_damaged_version_is_refused(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    promote(registry, "2")
    (folder_of(registry, "1") / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        rollback(registry, reason="bad")
    assert aliases(registry)["champion"] == "2"


def test_another_policy_than_the_config_s_is_refused(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    stricter = POLICY.model_copy(update={"min_items": 51})
    with pytest.raises(UserError, match="under another policy"):
        promote(registry, "2", policy=stricter.model_dump(mode="json"))
    promote(registry, "2", policy=POLICY.model_dump(mode="json"))


def test_auto_approval_is_a_choice(run: Path) -> None:
    config = CONFIG.model_copy(update={"auto_approve": True})
    candidate(run, "one", config)
    registry = opened(run, config)
    assert registry.history().versions["1"].state == "approved"
    assert registry.history().moves[-1].actor == "auto-approval"
    assert aliases(registry) == {"approved": "1"}


def _every_file(registry: Registry, version: str) -> list[Path]:
    return sorted(path for path in folder_of(registry, version).rglob("*") if path.is_file())


def test_no_bit_of_any_file_can_flip_unnoticed(registry: Registry, run: Path) -> None:
    """In each file three bits: of the first byte, one in the middle, the last."""
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    files = _every_file(registry, "2")
    assert {path.name for path in files} == {
        "README.md", "config.json", "decision.json", "lineage.json", "manifest.json",
        "model.safetensors",
    }  # fmt: skip
    for path in files:
        data = path.read_bytes()
        path.chmod(0o644)
        for place, bit in ((0, 0), (len(data) // 2, 3), (len(data) - 1, 7)):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(UserError, match=path.name):
                promote(registry, "2")
        path.write_bytes(data)
    assert aliases(registry)["champion"] == "1"
    promote(registry, "2")


def test_renamed_extra_and_missing_files_are_named(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    folder = folder_of(registry, "2")
    weights = folder / "model.safetensors"
    weights.rename(folder / "weights.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        promote(registry, "2")
    (folder / "weights.safetensors").rename(weights)
    (folder / "pytorch_model.bin").write_bytes(b"extra")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is no part of the bundle"):
        promote(registry, "2")


def test_a_swapped_decision_is_refused(registry: Registry, run: Path) -> None:
    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    target = folder_of(registry, "2") / "decision.json"
    target.chmod(0o644)
    target.write_bytes((folder_of(registry, "1") / "decision.json").read_bytes())
    with pytest.raises(UserError, match=r"decision\.json was changed"):
        promote(registry, "2")


def test_a_version_that_names_another_bundle_is_refused(registry: Registry, run: Path) -> None:
    """Somebody with rights to MLflow's database points the version at other weights."""
    import sqlite3

    candidate(run, "two", champion=digest_of(registry, "1"))
    approve(registry, "2", reason="ok")
    with sqlite3.connect(run.parent / "mlflow.db") as database:
        database.execute(
            "update model_versions set source = ? where name = 'small-safe' and version = 2",
            [registry.source("f" * 64)],
        )
    with pytest.raises(UserError, match=r"version 2 names .* in MLflow, and its journal"):
        promote(registry, "2")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.update(verdict="rejected"), "the gate rejected dgr"),
        (lambda d: d["rules"][0].update(limit=-1), "does not hold"),
        (lambda d: d["rules"][0].update(passed=False), "does not hold"),
        (lambda d: d.update(rules=[]), "does not hold"),
        (lambda d: d.update(rules=[d["rules"][0] | {"hard": False}]), "does not hold"),
        (lambda d: d["policy"].update(min_items=1), "another policy"),
        (lambda d: d["identity"]["models"].update(dgr="0" * 64), "on other weights"),
        (lambda d: d.pop("identity"), "lacks or garbles 'identity'"),
    ],
)
def test_a_decision_is_read_and_not_believed(run: Path, change: object, complaint: str) -> None:
    from dgr.registry.bundle import Bundle, BundleManifest, decision_problem

    candidate(run, "one")
    registry = opened(run)
    folder = folder_of(registry, "1")
    manifest = BundleManifest.model_validate(read_json(folder / "manifest.json"))
    decision = json.loads((folder / "decision.json").read_text())
    assert decision_problem(Bundle("", manifest, decision, "")) is None
    soft = decision["rules"][0] | {"hard": False, "passed": False}
    warned = decision | {"rules": [*decision["rules"], soft]}
    assert decision_problem(Bundle("", manifest, warned, "")) is None
    change(decision)  # type: ignore[operator]
    assert complaint in (decision_problem(Bundle("", manifest, decision, "")) or "")


@pytest.fixture
def keys(tmp_path: Path) -> SigningConfig:
    return make_keys(tmp_path / "ours")


def make_keys(folder: Path) -> SigningConfig:
    """A new pair of EC keys, required of every bundle."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "private.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "public.pem").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return SigningConfig(
        private_key=str(folder / "private.pem"), public_key=folder / "public.pem", required=True
    )


def test_a_signed_bundle_goes_through_and_a_foreign_signature_does_not(
    run: Path, keys: SigningConfig, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"signing": keys})
    candidate(run, "one", config)
    registry = opened(run, config)
    assert (folder_of(registry, "1") / "model.sig").is_file()
    approve(registry, "1", reason="ok")
    foreign = CONFIG.model_copy(update={"signing": make_keys(tmp_path / "theirs")})
    with pytest.raises(UserError, match=r"was not made by the key of .*theirs"):
        promote(opened(run, foreign), "1")
    signature = folder_of(registry, "1") / "model.sig"
    signature.chmod(0o644)
    data = signature.read_bytes()
    for place in (5, len(data) // 2, len(data) - 4):
        flipped = bytearray(data)
        flipped[place] ^= 1
        signature.write_bytes(flipped)
        with pytest.raises(UserError, match=r"model\.sig|signature"):
            promote(registry, "1")
    signature.write_bytes(data)
    promote(registry, "1")


def test_where_signatures_are_required_an_unsigned_bundle_is_refused(
    run: Path, keys: SigningConfig
) -> None:
    candidate(run, "one")
    registry = opened(run, CONFIG.model_copy(update={"signing": keys}))
    with pytest.raises(UserError, match="is not signed"):
        approve(registry, "1", reason="ok")

"""A bundle: the model as it is kept in the store, and what of it can be trusted.

models/<name>/<digest>/      digest: SHA-256 of manifest.json
    manifest.json            every file with its SHA-256 and size; uploaded last
    model.safetensors ...    what `from_pretrained` and vLLM load: weights, tokenizer, template
    adapter/                 the LoRA adapter, where one was trained
    decision.json            the gate's decision on these very weights
    lineage.json             the training step's manifest: inputs, config, code, seed
    README.md                the model card
    model.sig                the signature over all of these, where a key is configured
"""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dgr.errors import UserError
from dgr.files import (
    canonical_json,
    first_problem,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_text,
    write_bytes,
    write_json,
    write_text,
)
from dgr.records import Record
from dgr.signing import SIGNATURE, SigningConfig, sign, verify_digests
from dgr.steps import MANIFEST
from dgr.storage import Store, open_store

DECISION, LINEAGE, CARD, ADAPTER = "decision.json", "lineage.json", "README.md", "adapter"
HASHERS = 4
"""Files that are read from the store at once."""


class BundleManifest(Record):
    """`manifest.json` of a bundle. Bundles of every format stay readable."""

    format: Literal[1] = 1
    files: dict[str, str]
    """Relative name -> SHA-256."""
    sizes: dict[str, int]
    """Relative name -> bytes."""

    @property
    def weights(self) -> str:
        """Digest of the model's own files, as evaluation records it of a model folder."""
        own = {
            name: digest
            for name, digest in self.files.items()
            if name not in (DECISION, LINEAGE, CARD) and not name.startswith(f"{ADAPTER}/")
        }
        return sha256_text(canonical_json(own))


@dataclass(frozen=True)
class Bundle:
    """A bundle in a store, checked."""

    digest: str
    manifest: BundleManifest
    decision: dict[str, Any]
    decision_digest: str


def bundle_key(model: str, digest: str) -> str:
    return f"models/{model}/{digest}"


def build(
    folder: Path, *, sft: Path, decision: Path, card: str, signing: SigningConfig
) -> tuple[str, BundleManifest]:
    """Lay out the bundle in `folder` from what training and the gate wrote; its digest."""
    shutil.rmtree(folder, ignore_errors=True)
    kept = open_store(str(folder.parent))
    kept.put_folder(sft / "model", folder.name)
    if (sft / ADAPTER).is_dir():
        kept.put_folder(sft / ADAPTER, f"{folder.name}/{ADAPTER}")
    # These are new files: what they replace may be links to the step's own.
    write_bytes(folder / DECISION, (decision / DECISION).read_bytes())
    write_bytes(folder / LINEAGE, (sft / MANIFEST).read_bytes())
    write_text(folder / CARD, card)
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = BundleManifest(
        files={name: sha256_file(path) for name, path in paths.items()},
        sizes={name: path.stat().st_size for name, path in paths.items()},
    )
    write_json(folder / MANIFEST, manifest)
    sign(folder, signing)
    return sha256_file(folder / MANIFEST), manifest


def upload(store: Store, folder: Path, key: str) -> None:
    """Put a bundle in its place, the manifest last. What is there already is only compared."""
    manifest = BundleManifest.model_validate(read_json(folder / MANIFEST))
    for name, digest in manifest.files.items():
        store.create_file(folder / name, f"{key}/{name}", digest)
    if (folder / SIGNATURE).is_file() and not store.exists(f"{key}/{SIGNATURE}"):
        signature = folder / SIGNATURE
        store.create_file(signature, f"{key}/{SIGNATURE}", sha256_file(signature))
    store.create_file(folder / MANIFEST, f"{key}/{MANIFEST}", sha256_file(folder / MANIFEST))


def inspect(
    store: Store, key: str, digest: str, signing: SigningConfig, *, deep: bool = True
) -> Bundle:
    """Check a bundle in the store: manifest, file by file, signature, decision.

    `deep` reads every byte again; without it names and sizes alone are compared, which takes
    seconds whatever the size. Raises `UserError` naming the file that is wrong.
    """
    text = store.read_bytes(f"{key}/{MANIFEST}")
    if sha256_bytes(text) != digest:
        raise UserError(f"{store.uri_of(key)}: {MANIFEST} was changed after it was written")
    manifest = read_manifest(text, store.uri_of(f"{key}/{MANIFEST}"))
    signed = _check_names(store, key, manifest)
    _check_sizes(store, key, manifest)
    if deep:
        _check_contents(store, key, manifest)
    signature = store.read_bytes(f"{key}/{SIGNATURE}") if signed else None
    digests = {**manifest.files, MANIFEST: digest}
    verify_digests(signature, digests, signing, where=store.uri_of(key))
    decision = store.read_bytes(f"{key}/{DECISION}")
    if sha256_bytes(decision) != manifest.files[DECISION]:
        raise UserError(f"{store.uri_of(key)}: {DECISION} was changed after it was written")
    return Bundle(digest, manifest, json.loads(decision), manifest.files[DECISION])


def read_manifest(text: bytes, where: str) -> BundleManifest:
    try:
        return BundleManifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{where}: {first_problem(error)}") from None


def _check_names(store: Store, key: str, manifest: BundleManifest) -> bool:
    """Every file of the manifest is there and no other; whether there is a signature."""
    found = {name.removeprefix(f"{key}/") for name in store.list(key)} - {MANIFEST}
    missing = sorted(manifest.files.keys() - found)
    extra = sorted(found - manifest.files.keys() - {SIGNATURE})
    where = store.uri_of(key)
    if missing:
        raise UserError(f"{where}: {missing[0]} is missing although {MANIFEST} lists it")
    if extra:
        raise UserError(f"{where}: {extra[0]} is no part of the bundle: {MANIFEST} lacks it")
    return SIGNATURE in found


def _check_sizes(store: Store, key: str, manifest: BundleManifest) -> None:
    for name, size in manifest.sizes.items():
        if store.size(f"{key}/{name}") != size:
            raise UserError(f"{store.uri_of(key)}: {name} was changed after it was written")


def _check_contents(store: Store, key: str, manifest: BundleManifest) -> None:
    names = list(manifest.files)
    with ThreadPoolExecutor(HASHERS) as pool:
        digests = pool.map(lambda name: store.sha256(f"{key}/{name}"), names)
        for name, found in zip(names, digests, strict=True):
            if found != manifest.files[name]:
                raise UserError(f"{store.uri_of(key)}: {name} was changed after it was written")


def decision_problem(bundle: Bundle) -> str | None:
    """Why a bundle's decision does not let these weights through; None when it does.

    The decision is read, not believed: every rule is applied to its figure once more.
    """
    decision = bundle.decision
    try:
        identity, arm = decision["identity"], decision["candidate"]
        if decision["verdict"] != "passed":
            return f"the gate rejected {arm}"
        hard = [rule for rule in decision["rules"] if rule.get("hard", True)]  # 0.1.0: all are
        broken = next((rule for rule in hard if not _holds(rule)), None)
        if broken is not None or not hard:
            return f"rule {broken['name'] if broken else '(there is none)'} does not hold"
        if identity["policy"] != sha256_text(canonical_json(decision["policy"])):
            return "the decision was made under another policy than it names"
        if identity["models"][arm] != bundle.manifest.weights:
            return "the decision was made on other weights than the bundle's"
    except (KeyError, TypeError, ValueError) as error:
        return f"the decision lacks or garbles {error}"
    return None


def _holds(rule: Mapping[str, Any]) -> bool:
    bound, limit = float(rule["figure"][rule["bound"]]), float(rule["limit"])
    return rule["passed"] is True and (
        bound <= limit if rule["comparison"] == "<=" else bound > limit
    )

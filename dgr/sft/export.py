"""What training leaves behind: a model folder that serves wherever the base folder does."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgr.files import read_json, unwritable, write_text

COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)
"""All that a model folder holds beside its weights. Copied, never written anew: re-saving a
tokenizer may change its template or its pre-tokeniser without a word."""


def save_model(model: Any, base: Path, folder: Path, dtype: Any) -> None:
    """Weights as safetensors in `dtype`, everything else from the base folder unchanged."""
    model.to(dtype).save_pretrained(folder)
    for written in folder.iterdir():
        if not written.name.startswith("model") or ".safetensors" not in written.name:
            written.unlink()
    for source in base_files(base):
        shutil.copyfile(source, folder / source.name)


def base_files(base: Path) -> Iterator[Path]:
    """Files of the base folder that are not weights."""
    for path in sorted(base.iterdir()):
        if path.is_file() and any(path.match(pattern) for pattern in COPIED):
            yield path


def save_adapter(model: Any, base: Path, folder: Path) -> None:
    """A PEFT adapter folder. It names its base by the folder's name, not by this machine's path."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = read_json(path)
    config["base_model_name_or_path"] = base.resolve().name
    config["target_modules"] = sorted(config["target_modules"])  # peft writes a set, in any order
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full disk or a read-only folder, met while weights are written, into a `UserError`.

    safetensors and torch hide the operating system's error in the text of their own.
    """
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error
    except SafetensorError as error:
        raise unwritable(folder, OSError(str(error))) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error):
            raise
        raise unwritable(folder, OSError(str(error))) from error

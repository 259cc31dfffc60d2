"""LoRA adapters that requests name, as `sft` writes them."""

from pathlib import Path

from dgr.errors import UserError

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def check_adapter(folder: Path) -> None:
    """`UserError` for a folder that holds no whole adapter."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise UserError(f"adapter folder {folder} has no {name}; name the one that sft wrote")

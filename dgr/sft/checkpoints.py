"""Checkpoints that can be trusted: only one that was written whole is ever resumed from."""

import re
import shutil
from pathlib import Path

COMPLETE = "complete"
"""Marker file, written after everything else in a checkpoint folder."""


def mark_complete(folder: Path) -> None:
    """Vouch for a checkpoint, then delete those before it, each one's marker first."""
    (folder / COMPLETE).touch()
    for other in checkpoints(folder.parent):
        if other != folder:
            (other / COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(other)


def checkpoints(root: Path) -> list[Path]:
    """Folders `checkpoint-<step>` below `root`, complete or not, in order of steps."""
    found = {checkpoint_step(path.name): path for path in root.glob("checkpoint-*")}
    return [path for step, path in sorted(found.items()) if step]


def checkpoint_step(name: str) -> int:
    """The step that a checkpoint's name tells; 0 for any other name."""
    match = re.fullmatch(r"checkpoint-(\d+)", name)
    return int(match[1]) if match else 0


def last_complete(root: Path) -> Path | None:
    """The newest complete checkpoint; what a crash left half-written is deleted."""
    complete = [path for path in checkpoints(root) if (path / COMPLETE).is_file()]
    for path in checkpoints(root):
        if path not in complete:
            shutil.rmtree(path)
    return complete[-1] if complete else None

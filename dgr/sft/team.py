"""Who trains: one process, or many that act as one.

`fit` asks its team where training in several processes differs from training in one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dgr.sft.checkpoints import mark_complete


class Team(Protocol):
    """The processes of one training. Every one of them makes the same calls in the same order."""

    @property
    def size(self) -> int:
        """How many processes share a batch."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this process reports, and writes what exists once."""
        ...

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the weights alone."""
        ...

    @property
    def checkpoints(self) -> Path | None:
        """Where checkpoints are on this machine; None: in the step's work folder."""
        ...

    def agree(self, signum: int | None) -> int | None:
        """The signal that any of them got: all stop after the same step, or none."""
        ...

    def saved(self, checkpoint: Path) -> None:
        """Vouch for a checkpoint that was just written."""
        ...

    def arguments(self) -> dict[str, Any]:
        """What the trainer is told beside the config."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process."""

    size: int = 1
    leads: bool = True
    sharded: bool = False
    checkpoints: Path | None = None

    def agree(self, signum: int | None) -> int | None:
        return signum

    def saved(self, checkpoint: Path) -> None:
        mark_complete(checkpoint)

    def arguments(self) -> dict[str, Any]:
        return {}


ALONE = Alone()

"""Completions that are generated together, in one key-value cache with padding on the left.

Rows that are finished leave, and waiting ones take their places, so the batch stays full until
there is nothing left to start.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from dgr.engines.base import Request
from dgr.engines.cache import join, joinable, new_cache
from dgr.records import Finish


@dataclass
class Row:
    """A request that is being generated."""

    request: Request
    prompt: list[int]
    limit: int
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None

    @cached_property
    def uniforms(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """A random number for each token, by the request's seed alone."""
        return np.random.Generator(np.random.Philox(self.request.seed)).random(self.limit)

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.ids)


class Batch:
    """Rows with their cache. `next_logits` looks at all that is new of each row."""

    def __init__(self, model: Any, rows: Sequence[Row], device: torch.device) -> None:
        self._model, self._device = model, device
        self.rows = list(rows)
        self._cache = new_cache(model.config)
        width = max(row.length for row in rows)
        self._new = torch.tensor(
            [[0] * (width - row.length) + row.prompt + row.ids for row in rows], device=device
        )
        lengths = torch.tensor([row.length for row in rows], device=device)
        self._mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)

    def next_logits(self) -> torch.Tensor:
        """Logits of every row's next token, [rows, vocabulary]."""
        logits: torch.Tensor = self._model(
            input_ids=self._new,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1]

    def uniforms(self) -> torch.Tensor:
        """Every row's random number for its next token."""
        found = [row.uniforms[len(row.ids)] if row.finish is None else 0.0 for row in self.rows]
        return torch.tensor(found, device=self._device)

    def advance(self, tokens: torch.Tensor) -> Iterator[tuple[Row, int]]:
        """Take each row's next token; those that go to rows that still run come out."""
        self._new, self._positions = tokens[:, None], self._positions[:, -1:] + 1
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(self.rows), 1))], dim=1)
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            if row.finish is None:
                yield row, token

    @property
    def running(self) -> int:
        return sum(row.finish is None for row in self.rows)

    def without_finished(self) -> "Batch | None":
        """The same batch without the rows that are finished; None where all are."""
        kept = [place for place, row in enumerate(self.rows) if row.finish is None]
        if not kept:
            return None
        keep = torch.tensor(kept, device=self._device)
        self.rows = [self.rows[place] for place in kept]
        self._new, self._positions = self._new[keep], self._positions[keep]
        self._mask = self._mask[keep]
        self._cache.batch_select_indices(keep)
        return self

    @property
    def can_grow(self) -> bool:
        """Whether the cache is of a kind that takes more rows."""
        return joinable(self._cache)

    def take_in(self, other: "Batch") -> None:
        """Add the rows of another batch; both have chosen their next tokens."""
        widths = [max(row.length for row in batch.rows) for batch in (self, other)]
        width = max(widths)
        join(self._cache, other._cache, (widths[0] - 1, widths[1] - 1))
        self._mask = torch.cat(
            [
                torch.nn.functional.pad(batch._mask, (width - batch._mask.shape[1], 0))
                for batch in (self, other)
            ]
        )
        self._new = torch.cat([self._new, other._new])
        self._positions = torch.cat([self._positions, other._positions])
        self.rows += other.rows

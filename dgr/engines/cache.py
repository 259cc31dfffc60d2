"""A key-value cache that grows in place.

The stock dynamic cache copies all keys and values at every token. For small models that copying
costs as much as the model; room is therefore taken ahead, and twice as much when it is used up.
"""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

FIRST_ROOM = 64
"""Tokens of room beyond the prompt."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, [rows, heads, tokens, head size], as views into room ahead."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._room = (self._take(key_states, 0), self._take(value_states, 0))
            self._used = 0
        end = self._used + key_states.shape[-2]
        if end > self._room[0].shape[-2]:
            self._room = (
                self._take(self.keys, self.keys.shape[-2]),
                self._take(self.values, self.values.shape[-2]),
            )
            self._room[0][:, :, : self._used] = self.keys
            self._room[1][:, :, : self._used] = self.values
        self._room[0][:, :, self._used : end] = key_states
        self._room[1][:, :, self._used : end] = value_states
        self._used = end
        self._look()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._room = (self._room[0][indices], self._room[1][indices])
        self._look()

    def _look(self) -> None:
        self.keys = self._room[0][:, :, : self._used]
        self.values = self._room[1][:, :, : self._used]

    @staticmethod
    def _take(like: torch.Tensor, more: int) -> torch.Tensor:
        rows, heads, tokens, size = like.shape
        return like.new_empty((rows, heads, tokens + max(more, FIRST_ROOM), size))


def new_cache(config: Any) -> Any:
    """The stock cache of a model, its layers of full attention replaced by growing ones."""
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache

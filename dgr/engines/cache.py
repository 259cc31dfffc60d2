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


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer, [rows, heads, tokens, head size], as views into room ahead."""

    _room: tuple[torch.Tensor, torch.Tensor]
    _used: int

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._used = 0
            self._room = (_wider(key_states, 0), _wider(value_states, 0))
        end = self._used + key_states.shape[-2]
        keys, values = self._room
        if end > keys.shape[-2]:
            self._room = keys, values = _wider(keys, self._used), _wider(values, self._used)
        keys[:, :, self._used : end] = key_states
        values[:, :, self._used : end] = value_states
        self._used = end
        return self._look()

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        keys, values = self._room
        self._room = (keys[indices], values[indices])
        self._look()

    def join(self, other: "GrowingLayer", used: tuple[int, int]) -> None:
        """Put the rows of another layer below these; of each the last `used` tokens are kept."""
        end, rows = max(used), self._room[0].shape[0]
        rooms = []
        for mine, its in zip(self._room, other._room, strict=True):
            shape = (rows + its.shape[0], mine.shape[1], end + FIRST_ROOM, mine.shape[3])
            # Zeros: padding is masked, but what is no number would come through.
            room = mine.new_zeros(shape)
            room[:rows, :, end - used[0] : end] = mine[:, :, self._used - used[0] : self._used]
            room[rows:, :, end - used[1] : end] = its[:, :, other._used - used[1] : other._used]
            rooms.append(room)
        self._room, self._used = (rooms[0], rooms[1]), end
        self._look()

    def _look(self) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (room[:, :, : self._used] for room in self._room)
        self.keys, self.values = keys, values
        return keys, values


def _wider(states: torch.Tensor, used: int) -> torch.Tensor:
    """Twice the room, or a little more than asked at first, with the used part copied."""
    rows, heads, tokens, size = states.shape
    room = states.new_empty((rows, heads, tokens + max(used, FIRST_ROOM), size))
    room[:, :, :used] = states[:, :, :used]
    return room


def new_cache(config: Any) -> Any:
    """The stock cache of a model, its layers of full attention replaced by growing ones."""
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer  # type: ignore[no-untyped-call]
        for layer in cache.layers
    ]
    return cache


def joinable(cache: Any) -> bool:
    """Whether `join` can work on such a cache."""
    return all(type(layer) is GrowingLayer for layer in cache.layers)


def join(cache: Any, other: Any, used: tuple[int, int]) -> None:
    """Add the rows of another cache; `used` are the tokens of both that are no mere padding."""
    for layer, more in zip(cache.layers, other.layers, strict=True):
        layer.join(more, used)

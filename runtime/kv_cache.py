"""Where keys and values lie: per layer one row per slot, and one row more that is written and never
read (the trash slot), so that a step's writes need no mask.

A slot's row holds the keys of all heads, then the values of all heads, so that one operator writes
or gathers both; `k` and `v` are views of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..radix_cache.runs import Ints
from ..radix_cache.tier import Move

_AT_ONCE = 1024  # tokens: what a copy takes beside the two ends of it


@dataclass(frozen=True)
class LayerKV:
    """What one layer keeps per token: `heads` keys of `k_width` elements, values of `v_width`."""

    heads: int
    k_width: int
    v_width: int

    @property
    def width(self) -> int:
        """Elements of one token's row."""
        return self.heads * (self.k_width + self.v_width)


@dataclass(frozen=True)
class KVLayout:
    """What all layers keep per token. Today one group: every layer keeps every token."""

    layers: tuple[LayerKV, ...]

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes of one token's keys and values over all layers."""
        return sum(layer.width for layer in self.layers) * dtype.itemsize


class KVCache:
    """`num_slots` slots for every layer of `layout`, and the trash slot, whose number is
    `num_slots`."""

    def __init__(
        self,
        layout: KVLayout,
        num_slots: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.layout = layout
        self.num_slots = num_slots
        self.trash_slot = num_slots
        self.dtype = dtype
        self.device = torch.device(device)
        self.rows: list[Tensor] = []
        """Per layer [num_slots + 1, heads * (k_width + v_width)]."""
        self.k: list[Tensor] = []
        """Per layer [num_slots + 1, heads, k_width]."""
        self.v: list[Tensor] = []
        """Per layer [num_slots + 1, heads, v_width]."""
        for layer in layout.layers:
            # Not zeroed: no slot is read before it is written, and memory that nothing has touched
            # costs nothing on a CPU.
            rows = torch.empty(num_slots + 1, layer.width, device=self.device, dtype=dtype)
            split = layer.heads * layer.k_width
            self.rows.append(rows)
            self.k.append(rows[:, :split].unflatten(1, (layer.heads, layer.k_width)))
            self.v.append(rows[:, split:].unflatten(1, (layer.heads, layer.v_width)))

    @property
    def bytes_per_token(self) -> float:
        """Bytes held per usable slot, the trash slot's share included."""
        return sum(rows.numel() for rows in self.rows) * self.dtype.itemsize / self.num_slots


class HostKV:
    """Host memory for `num_slots` tokens' keys and values of all layers; pinned where the cache is
    on a GPU, so that copies wait for nobody and follow each other on the device's stream."""

    def __init__(self, kv: KVCache, num_slots: int) -> None:
        self._kv = kv
        self._widths = [layer.width for layer in kv.layout.layers]
        self._rows = torch.empty(
            num_slots,
            sum(self._widths),
            dtype=kv.dtype,
            pin_memory=kv.device.type == "cuda",
        )

    def move(self, move: Move) -> None:
        """Makes the copies of one move."""
        copy = self._save if move.kind == "save" else self._load
        for start in range(0, len(move.host), _AT_ONCE):
            stop = start + _AT_ONCE
            device = torch.from_numpy(move.device[start:stop]).to(self._kv.device)
            copy(device, move.host[start:stop])

    def _save(self, device: Tensor, host: Ints) -> None:
        tokens = torch.cat([rows[device] for rows in self._kv.rows], dim=1)
        for start, stop, first in _runs(host):
            part = self._rows[first : first + stop - start]
            part.copy_(tokens[start:stop], non_blocking=True)

    def _load(self, device: Tensor, host: Ints) -> None:
        tokens = torch.empty(
            len(host), self._rows.shape[1], dtype=self._kv.dtype, device=self._kv.device
        )
        for start, stop, first in _runs(host):
            part = self._rows[first : first + stop - start]
            tokens[start:stop].copy_(part, non_blocking=True)
        for rows, part in zip(self._kv.rows, tokens.split(self._widths, dim=1), strict=True):
            rows[device] = part


def _runs(slots: Ints) -> list[tuple[int, int, int]]:
    """Where slots follow each other: (start, stop) in `slots`, and the first slot."""
    edges = np.flatnonzero(np.diff(slots) != 1) + 1
    starts = [0, *edges.tolist()]
    stops = [*edges.tolist(), len(slots)]
    return list(zip(starts, stops, slots[starts].tolist(), strict=True))

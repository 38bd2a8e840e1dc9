"""Where keys and values lie: per layer one row per slot, and one row more that is written and never
read (the trash slot), so that a step's writes need no mask.

A slot's row holds the keys of all heads, then the values of all heads, so that one operator writes
or gathers both; `k` and `v` are views of it. A cache in 8 bits has their scales at a row's end, so
that whoever moves rows moves all there is (`kernels/kv_quant.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..kernels.device import put
from ..kernels.kv_quant import GREATEST, KVScales, write_quantised
from ..kernels.rope import write_kv
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
        """Elements of one token's row, without scales."""
        return self.heads * (self.k_width + self.v_width)

    def row_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of one token's row; scales and all, where the cache has 8 bits."""
        if dtype not in GREATEST:
            return self.width * dtype.itemsize
        return _aligned(self.width) + _aligned(2 * self.heads * torch.float32.itemsize)


@dataclass(frozen=True)
class KVLayout:
    """What all layers keep per token. Today one group: every layer keeps every token."""

    layers: tuple[LayerKV, ...]

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes of one token's keys and values over all layers."""
        return sum(layer.row_bytes(dtype) for layer in self.layers)


def _aligned(size: int) -> int:
    """The next multiple of 16 bytes: what a GPU reads at once."""
    return -(-size // 16) * 16


class KVCache:
    """`num_slots` slots for every layer of `layout`, and the trash slot, whose number is
    `num_slots`. dtype: what keys and values are kept in; with one of 8 bits, what is written is
    quantised, and attention needs `scales`."""

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
        self.quantised = dtype in GREATEST
        self.rows: list[Tensor] = []
        """Per layer [num_slots + 1, heads * (k_width + v_width)], or bytes with scales."""
        self.k: list[Tensor] = []
        """Per layer [num_slots + 1, heads, k_width]."""
        self.v: list[Tensor] = []
        """Per layer [num_slots + 1, heads, v_width]."""
        self.scales: list[KVScales | None] = []
        """Per layer, of a cache in 8 bits."""
        for layer in layout.layers:
            self._add(layer)

    def _add(self, layer: LayerKV) -> None:
        # Not zeroed: no slot is read before it is written, and memory that nothing has touched
        # costs nothing on a CPU.
        stored = torch.uint8 if self.quantised else self.dtype
        width = layer.row_bytes(self.dtype) // stored.itemsize
        rows = torch.empty(self.num_slots + 1, width, device=self.device, dtype=stored)
        split, heads = layer.heads * layer.k_width, layer.heads
        kept = rows[:, : layer.width].view(self.dtype)
        self.rows.append(rows)
        self.k.append(kept[:, :split].unflatten(1, (heads, layer.k_width)))
        self.v.append(kept[:, split:].unflatten(1, (heads, layer.v_width)))
        scales = None
        if self.quantised:
            both = rows[:, _aligned(layer.width) :].view(torch.float32)
            scales = KVScales(both[:, :heads], both[:, heads : 2 * heads])
        self.scales.append(scales)

    def write(self, layer: int, slot_of: Tensor, both: Tensor) -> None:
        """Keys of all heads, then values of all heads, [T, width], to slot_of [T]."""
        scales = self.scales[layer]
        if scales is None:
            write_kv(self.rows[layer], slot_of, both.to(self.dtype))
        else:
            write_quantised(both, slot_of, self.k[layer], self.v[layer], scales)

    @property
    def bytes_per_token(self) -> float:
        """Bytes held per usable slot, the trash slot's share included."""
        return sum(rows.nbytes for rows in self.rows) / self.num_slots


class HostKV:
    """Host memory for `num_slots` tokens' keys and values of all layers; pinned where the cache is
    on a GPU, so that copies wait for nobody and follow each other on the device's stream."""

    def __init__(self, kv: KVCache, num_slots: int) -> None:
        self._kv = kv
        self._widths = [rows.shape[1] for rows in kv.rows]
        self._dtype = kv.rows[0].dtype if kv.rows else kv.dtype
        self._rows = torch.empty(
            num_slots,
            sum(self._widths),
            dtype=self._dtype,
            pin_memory=kv.device.type == "cuda",
        )

    def move(self, move: Move) -> None:
        """Makes the copies of one move."""
        copy = self._save if move.kind == "save" else self._load
        for start in range(0, len(move.host), _AT_ONCE):
            stop = start + _AT_ONCE
            device = put(move.device[start:stop], self._kv.device)
            copy(device, move.host[start:stop])

    def _save(self, device: Tensor, host: Ints) -> None:
        tokens = torch.cat([rows[device] for rows in self._kv.rows], dim=1)
        for start, stop, first in _runs(host):
            part = self._rows[first : first + stop - start]
            part.copy_(tokens[start:stop], non_blocking=True)

    def _load(self, device: Tensor, host: Ints) -> None:
        tokens = torch.empty(
            len(host), self._rows.shape[1], dtype=self._dtype, device=self._kv.device
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

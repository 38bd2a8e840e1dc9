"""Where keys and values lie: per layer one row per slot, and one row more that is written and never
read (the trash slot), so that a step's writes need no mask.

A slot's row holds the keys of all heads, then the values of all heads, so that one operator writes
or gathers both; `k` and `v` are views of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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

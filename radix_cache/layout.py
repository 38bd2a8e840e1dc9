"""What a slot holds: the seam between the tree, which knows slots, and the pools, which know bytes.

A model's layers fall into KV groups. Layers of one group share slots: slot s holds a token's KV in
every layer of the group. Layers whose KV lives differently (a sliding window that may forget, a
state that is replaced at every token) are groups of their own, with slots of their own per node.
Today the tree keeps one group of kind "full"; a window is a mask inside the kernel.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ..errors import InvalidRequestError, NotSupportedError

KVKind = Literal["full", "window", "latent", "state"]

_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "int8": 1}


class KVGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Layers that share slots.

    layers: their indices in the model. k_widths, v_widths: elements per token in each of these
    layers (KV heads times head size; they may differ per layer, and K from V). kind: "full" keeps
    every token, "window" the last `window`, "latent" one compressed row (v_widths all 0), "state"
    a fixed size per sequence. dtype: as torch spells it, without "torch.".
    """

    layers: tuple[int, ...]
    k_widths: tuple[int, ...]
    v_widths: tuple[int, ...]
    dtype: str
    kind: KVKind = "full"
    window: int | None = None

    def __post_init__(self) -> None:
        count = len(self.layers)
        if not count or len(self.k_widths) != count or len(self.v_widths) != count:
            raise InvalidRequestError(
                expected="one K and one V width per layer, at least one layer",
                got=f"{count} layers, {len(self.k_widths)} K and {len(self.v_widths)} V widths",
                where="KVGroup",
            )
        if self.dtype not in _DTYPE_BYTES:
            raise InvalidRequestError(
                expected=f"one of {', '.join(_DTYPE_BYTES)}", got=repr(self.dtype), where="dtype"
            )
        if (self.kind == "window") != (self.window is not None):
            raise InvalidRequestError(
                "a window group, and no other, names its window", where="KVGroup.window"
            )

    @property
    def bytes_per_token(self) -> int:
        """Bytes of KV that one slot of this group stands for, over all its layers."""
        return (sum(self.k_widths) + sum(self.v_widths)) * _DTYPE_BYTES[self.dtype]


class KVLayout(msgspec.Struct, frozen=True):
    """All KV groups of a model; every layer with KV belongs to exactly one."""

    groups: tuple[KVGroup, ...]

    def __post_init__(self) -> None:
        layers = [layer for group in self.groups for layer in group.layers]
        if not layers or len(set(layers)) != len(layers):
            raise InvalidRequestError(
                "a KVLayout names at least one layer, and each only once", where="KVLayout"
            )

    @classmethod
    def full(cls, layers: int, k_width: int, v_width: int | None = None, *, dtype: str) -> KVLayout:
        """The common case: `layers` alike layers that all keep every token."""
        values = k_width if v_width is None else v_width
        return cls(
            (
                KVGroup(
                    layers=tuple(range(layers)),
                    k_widths=(k_width,) * layers,
                    v_widths=(values,) * layers,
                    dtype=dtype,
                ),
            )
        )

    @property
    def bytes_per_token(self) -> int:
        """Bytes of KV per token over all groups."""
        return sum(group.bytes_per_token for group in self.groups)

    def slots_in(self, memory: int, page_size: int = 1) -> int:
        """How many slots (whole pages) fit into `memory` bytes."""
        return math.floor(memory / self.bytes_per_token) // page_size * page_size

    def require_supported(self) -> None:
        """Raises NotSupportedError for layouts the tree cannot keep yet."""
        if len(self.groups) != 1 or self.groups[0].kind != "full":
            kinds = ", ".join(group.kind for group in self.groups)
            raise NotSupportedError(
                "the radix cache keeps one KV group of kind full",
                got=kinds,
                where="KVLayout",
                hint="Give window layers the full kind: their window is a mask in the kernel.",
            )

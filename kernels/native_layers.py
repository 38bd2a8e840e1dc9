"""All layers of a Llama for few rows on a CPU, in one call of C (`native_layers.c`): what the
callers of its operators do one by one takes a small model's step as long as half the operators."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .native import operators
from .native_attention import FEW, plan_few
from .norm import RMSNorm

if TYPE_CHECKING:
    from .attention import AttentionBatch

Matrix = tuple[Tensor, Tensor | None]
"""A weight [outputs, inputs] and its bias [outputs]."""


class LayerWeights(NamedTuple):
    """One layer. products: queries with keys and values, attention's output, gate with up, down.
    norms: before the first and the third of them."""

    products: Sequence[Matrix]
    norms: tuple[RMSNorm, RMSNorm]
    head_norms: tuple[RMSNorm, RMSNorm] | None
    window: int | None


class _Matrix(ctypes.Structure):
    """As native_layers.c has it, like the one below."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
        *((name, ctypes.c_int64) for name in ("outputs", "inputs")),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("qkv", "output", "gate_up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_norm", "mlp_norm", "q_norm", "k_norm")),
        ("cache", ctypes.c_void_p),
        ("window", ctypes.c_int64),
    )


class FewRows:
    """The layers of a model whose heads and norms are alike, over one cache of its dtype; for one
    thread at a time.

    most: rows of a step. rows: the cache's, per layer [slots, 2 * kv_heads * width] without gaps,
    of which `k` and `v` are views. scale: of attention.
    """

    def __init__(
        self,
        layers: Sequence[LayerWeights],
        most: int,
        rows: Sequence[Tensor],
        k: Tensor,
        v: Tensor,
        *,
        scale: float,
    ) -> None:
        self._kept = layers, rows  # what C has the addresses of
        self._most = most
        self._k, self._v, self._scale = k, v, scale
        self._eps = layers[0].norms[0].eps
        self._windows = sorted({layer.window for layer in layers}, key=lambda window: window or 0)
        qkv, output, gate_up, down = (weight.shape for weight, _ in layers[0].products)
        self._between = sum((*qkv, output[1], gate_up[0], down[1]))
        self._space = k.new_empty(0)
        self._work = sum(weight.numel() for layer in layers for weight, _ in layer.products)
        kv_heads, width = k.shape[1:]
        heads = output[1] // width
        self._q = k.new_empty(1, heads + 2 * kv_heads, width).narrow(1, 0, heads)
        self._layers = (_Layer * len(layers))(
            *(self._layer(layer, cache) for layer, cache in zip(layers, rows, strict=True))
        )

    def _layer(self, layer: LayerWeights, cache: Tensor) -> _Layer:
        wide = [norm.wide.data_ptr() for norm in (*layer.norms, *(layer.head_norms or ()))]
        return _Layer(
            *(
                _Matrix(weight.data_ptr(), None if bias is None else bias.data_ptr(), *weight.shape)
                for weight, bias in layer.products
            ),
            *wide,
            *[None] * (4 - len(wide)),
            cache.data_ptr(),
            self._windows.index(layer.window),
        )

    def run(
        self, x: Tensor, slot_of: Tensor, cos: Tensor, sin: Tensor, batch: AttentionBatch
    ) -> bool:
        """The residual x [T, hidden size] becomes what the layers make of it, in place, and the
        keys and values of its rows go to slot_of [T]. cos, sin [T, 1, D]: of its positions. False,
        and nothing done, where C does not take such rows."""
        rows = x.shape[0]
        if rows > self._most or any(
            end - first > FEW for first, end in pairwise(batch.query_start)
        ):
            return False
        c = operators(x, rows * self._work)
        if c is None or not all(tensor.is_contiguous() for tensor in (x, slot_of, cos, sin)):
            return False
        shapes = (ctypes.c_void_p * len(self._windows))()
        for i, window in enumerate(self._windows):
            laid = self._q, self._k, self._v
            plan = plan_few(*laid, batch, scale=self._scale, window=window, softcap=None)
            if plan is None:
                return False
            shapes[i] = ctypes.addressof(plan.shape)
        if rows * self._between > len(self._space):
            self._space = x.new_empty(rows * self._between)
        c.layers(
            self._layers,
            len(self._layers),
            shapes,
            cos.data_ptr(),
            sin.data_ptr(),
            cos.shape[-1],
            slot_of.data_ptr(),
            x.data_ptr(),
            self._space.data_ptr(),
            rows,
            self._eps,
        )
        return True

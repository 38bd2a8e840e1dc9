"""All layers of a Llama for few rows on a CPU, in one call of C (`native_layers.c`): what the
callers of its operators do one by one takes a small model's step as long as half the operators."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .native import operators
from .native_attention import plan_few
from .norm import RMSNorm

if TYPE_CHECKING:
    from .attention import AttentionBatch

Angles = tuple[Tensor, Tensor, Tensor, Tensor]
"""cos and sin [T, 1, D] of a step's rows, for layers without a window, then for those with one."""
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
    """As native_layers.c has it, like the two below."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
        *((name, ctypes.c_int64) for name in ("outputs", "inputs")),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("qkv", "output", "gate_up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_norm", "mlp_norm", "q_norm", "k_norm")),
        ("cache", ctypes.c_void_p),
        ("kind", ctypes.c_int64),
    )


class _Kind(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("cos", "sin", "attention")),
        ("turning", ctypes.c_int64),
    )


class FewRows:
    """The layers of a model with heads of one width, over one cache of its dtype.

    most: rows of a step. rows: the cache's, per layer [slots, 2 * kv_heads * width] without gaps,
    of which `k` and `v` are views. scale, softcap: of attention.
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
        softcap: float | None,
    ) -> None:
        self._kept = layers, rows  # what C has the addresses of
        self._most = most
        self._k, self._v = k, v
        self._scale, self._softcap = scale, softcap
        norm = layers[0].norms[0]
        self._numbers = norm.eps, norm.weight.dtype != k.dtype
        self._windows = sorted({layer.window for layer in layers}, key=lambda window: window or 0)
        qkv, output, gate_up, down = (weight.shape for weight, _ in layers[0].products)
        self._hidden = qkv[1]
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

    def run(self, x: Tensor, slot_of: Tensor, angles: Angles, batch: AttentionBatch) -> bool:
        """The residual x [T, hidden size] becomes what the layers make of it, in place, and the
        keys and values of its rows go to slot_of [T]. False, and nothing done, where C does not
        take such rows."""
        rows = x.shape[0]
        c = operators(x, rows * self._work) if rows <= self._most else None
        suits = x.shape[1:] == (self._hidden,) and x.dtype == self._k.dtype
        if c is None or not suits or not _plain(x, slot_of, *angles):
            return False
        kinds = (_Kind * len(self._windows))()
        for kind, window in zip(kinds, self._windows, strict=True):
            plan = plan_few(
                self._q,
                self._k,
                self._v,
                batch,
                scale=self._scale,
                window=window,
                softcap=self._softcap,
            )
            if plan is None or plan.others:
                return False
            local = window is not None
            cos, sin = angles[2 * local], angles[2 * local + 1]
            kind.cos, kind.sin = cos.data_ptr(), sin.data_ptr()
            kind.attention, kind.turning = ctypes.addressof(plan.shape), cos.shape[-1]
        if rows * self._between > len(self._space):
            self._space = x.new_empty(rows * self._between)
        c.layers(
            self._layers,
            len(self._layers),
            kinds,
            slot_of.data_ptr(),
            x.data_ptr(),
            self._space.data_ptr(),
            rows,
            *self._numbers,
        )
        return True


def _plain(*tensors: Tensor) -> bool:
    return all(tensor.is_contiguous() for tensor in tensors)

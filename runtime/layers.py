"""The seam every weight passes through.

A model asks for its layers by what they are (column, row, replicated); how a weight is cut over
ranks, stored and multiplied is decided here, so that tensor parallelism, quantisation and adapters
come without touching a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NotSupportedError
from ..kernels import int8
from ..kernels.activation import silu_mul
from ..kernels.int8 import Int8Weight
from ..kernels.native import operators
from ..kernels.norm import RMSNorm
from .dtypes import native_on_cpu
from .loader import ONE, Group, Weights

Kind = Literal["column", "row", "replicated"]

_ON_STACK = 1 << 16
"""Elements of what stands between a norm or a gate and the product in C."""


class Embedding:
    """The vectors of token ids. tied: the model's head reads the same weight, which is then kept as
    a layer's; else it is kept as the model computes."""

    __slots__ = ("_dtype", "weight")

    def __init__(
        self, weights: Weights, name: str, vocabulary: int, width: int, *, tied: bool
    ) -> None:
        self._dtype = weights.dtype
        shape = vocabulary, width
        self.weight: Tensor | Int8Weight
        if tied and weights.quantization:
            self.weight = weights.keep_int8(
                weights.take(f"{name}.weight", shape, dtype=torch.float32)
            )
        else:
            self.weight = weights.take(f"{name}.weight", shape)

    def __call__(self, ids: Tensor) -> Tensor:
        """ids [T] -> [T, width]."""
        if isinstance(self.weight, Int8Weight):
            return self.weight.rows(ids, self._dtype)
        return F.embedding(ids, self.weight)


class Linear:
    """`y = x W^T + b` for x [T, inputs] -> [T, sum(outputs)].

    Several weights that read the same x are fused: `names[i]` gives outputs[i] of the outputs; one
    name gives them all where the checkpoint has fused them.
    kind: column cuts the outputs over the group, row the inputs, replicated nothing. shared: the
    weight, where another layer has loaded it already (tied embeddings). Where the weights are to be
    kept in 8 bits, W is, and b is not.

    few: up to so many rows go by `linear` of native.c, which reads `weight` and `bias`.
    """

    __slots__ = ("_int8", "_onednn", "bias", "few", "weight")

    def __init__(
        self,
        weights: Weights,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        *,
        kind: Kind,
        bias: bool = False,
        shared: Embedding | None = None,
        group: Group = ONE,
        format: Literal["plain"] = "plain",
    ) -> None:
        if format != "plain":
            raise NotSupportedError(
                f"weight format {format!r}", hint="Use an unquantised checkpoint."
            )
        if kind == "row" and group.size > 1:
            raise NotSupportedError(
                f"a row-parallel layer over {group.size} ranks", hint="Use one device."
            )
        fused = len(names) == 1 and len(outputs) > 1
        if fused and group.size > 1:
            raise NotSupportedError(
                f"a fused weight over {group.size} ranks", hint="Use one device."
            )
        dim = {"column": 0, "row": 1, "replicated": None}[kind]
        named = list(zip(names, [sum(outputs)] if fused else outputs, strict=True))
        weight = _taken(weights, named, inputs, dim, group) if shared is None else shared.weight
        self.bias: Tensor | None = None
        if bias:
            cut = 0 if kind == "column" else None
            self.bias = torch.cat(
                [
                    weights.take(f"{name}.bias", (size,), cut=cut, group=group)
                    for name, size in named
                ]
            )
        self._int8 = weight if isinstance(weight, Int8Weight) else None
        self.few = 0
        if isinstance(weight, Int8Weight):
            return
        self.weight = weight
        self.few = _few_in_c(self.weight)
        self._onednn: Tensor | None = None
        if _packs(self.weight):
            self._onednn = self.weight
            if not self.few:
                self._onednn = torch.ops.mkldnn._reorder_linear_weight(self.weight)
                del self.weight

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        if self._int8 is not None:
            y = x.new_empty(rows, self._int8.outputs)
            return int8.linear(x, self._int8, self.bias, y, add=False)
        if 0 < rows <= self.few:
            y = x.new_empty(rows, self.weight.shape[0])
            if self._multiply(x, y, add=False):
                return y
        if self._onednn is None:
            return F.linear(x, self.weight, self.bias)
        size = padded_rows(rows)
        if size != rows:
            x = F.pad(x, (0, 0, 0, size - rows))
        product: Tensor = _onednn_linear(x, self._onednn, self.bias, "none", [], "")
        return product[:rows]

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """Add this layer's `y` to `residual` [T, sum(outputs)] in place, and return it."""
        if self._int8 is not None:
            return int8.linear(x, self._int8, self.bias, residual, add=True)
        if 0 < x.shape[0] <= self.few and self._multiply(x, residual, add=True):
            return residual
        return residual.add_(self(x))

    def of_norm(self, norm: RMSNorm, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """This layer of `norm(x)`, after adding `plus` to `x` in place."""
        if self._int8 is not None:
            y = x.new_empty(x.shape[0], self._int8.outputs)
            x = x if plus is None else x.add_(plus)
            return int8.linear_of_norm(norm, x, self._int8, self.bias, y)
        c = self._fused(x)
        if c is None:
            return self(norm(x) if plus is None else norm.add(x, plus))
        if plus is not None:
            x.add_(plus)
        outputs, inputs = self.weight.shape
        y = x.new_empty(x.shape[0], outputs)
        c.normed_linear(
            x.data_ptr(),
            norm.wide.data_ptr(),
            norm.eps,
            norm.weight.dtype != x.dtype,
            self.weight.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            y.data_ptr(),
            x.shape[0],
            inputs,
            outputs,
        )
        return y

    def add_gated_to(self, residual: Tensor, gate_up: Tensor) -> Tensor:
        """Add this layer of SiLU(gate) * up, gate_up [T, 2 * inputs], to `residual` in place, and
        return it."""
        if self._int8 is not None:
            return int8.linear_of_gate(gate_up, self._int8, self.bias, residual)
        c = self._fused(gate_up, residual)
        if c is None:
            return self.add_to(residual, silu_mul(gate_up))
        outputs, inputs = self.weight.shape
        bias = None if self.bias is None else self.bias.data_ptr()
        pointers = self.weight.data_ptr(), bias, residual.data_ptr()
        rows = residual.shape[0]
        c.gated_linear(gate_up.data_ptr(), False, *pointers, rows, inputs, outputs, True)
        return residual

    def _fused(self, x: Tensor, y: Tensor | None = None) -> Any | None:
        """The functions of native.c, if they take this layer's few rows with what stands before:
        a norm, or a gate where there is a `y` to add to."""
        rows = x.shape[0]
        if not 0 < rows <= self.few or x.numel() > _ON_STACK:
            return None
        outputs, inputs = self.weight.shape
        if not self._lies(x, rows, inputs if y is None else 2 * inputs):
            return None
        if y is not None and not self._lies(y, rows, outputs):
            return None
        return operators(x, rows * outputs * inputs)

    def _multiply(self, x: Tensor, y: Tensor, *, add: bool) -> bool:
        """Write the product of few rows to `y`, or add it, in C; False where that is not done."""
        rows, (outputs, inputs) = x.shape[0], self.weight.shape
        if not (self._lies(x, rows, inputs) and self._lies(y, rows, outputs)):
            return False
        c = operators(x, rows * outputs * inputs)
        if c is None:
            return False
        bias = None if self.bias is None else self.bias.data_ptr()
        pointers = x.data_ptr(), self.weight.data_ptr(), bias, y.data_ptr()
        c.linear(*pointers, rows, inputs, outputs, add)
        return True

    def _lies(self, x: Tensor, rows: int, width: int) -> bool:
        """Whether x is as native.c reads it, which checks nothing."""
        return x.shape == (rows, width) and x.dtype == self.weight.dtype and x.is_contiguous()


def _taken(
    weights: Weights, named: list[tuple[str, int]], inputs: int, cut: int | None, group: Group
) -> Tensor | Int8Weight:
    """The weights of these names and outputs, one below the other, as they are to be kept."""
    wide = torch.float32 if weights.quantization else None
    parts = [
        weights.take(f"{name}.weight", (size, inputs), cut=cut, group=group, dtype=wide)
        for name, size in named
    ]
    weight = parts[0] if len(parts) == 1 else torch.cat(parts)
    return weights.keep_int8(weight) if weights.quantization else weight


def padded_rows(rows: int) -> int:
    """The number of rows that as many are multiplied as: eight numbers for each power of two.

    oneDNN makes a kernel for each number of rows that it meets and keeps 1,024 of them (measured:
    0.6 ms and 0.6 MB each, a handful for each number of rows of a step): there must be few.
    """
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return -(-rows // step) * step


_onednn_linear: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _packs(weight: Tensor) -> bool:
    """Whether to keep `weight` in oneDNN's own layout. Measured on an AMD EPYC, one thread: 1.1 to
    3 times as fast as F.linear from 1 to 512 rows in float32 and bfloat16 (31 against 17 GB/s at
    one row, 240 against 100 GFLOP/s at 512), and a row's result does not depend on how many there
    are (beyond those that go by C)."""
    if weight.device.type != "cpu" or _onednn_linear is None:
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or native_on_cpu(weight.dtype)


def _few_in_c(weight: Tensor) -> int:
    """Up to how many rows are multiplied by `weight` in C (`kernels/native.c`), for which it is
    kept as it is; 0 where none are.

    Measured beside oneDNN's layout, one thread, out of a cold cache. float32, on a Xeon: 0.3 to
    0.8 of the time from 1 to 8 rows, 0.8 to 1.1 at 16; from 32 on oneDNN takes as long from this
    layout as from its own, within a tenth. bfloat16, on an AMD EPYC (Zen 4): 0.6 to 0.9 of the time
    up to 4 rows, 0.9 to 1.0 at 8, 1.1 to 1.5 from 16 to 64, where oneDNN from this layout takes 1.2
    to 1.8; beyond, that takes 1.02 to 1.2. With several threads, and in bfloat16 where the
    processor has a matrix unit (AMX) or no products of it, oneDNN's is taken throughout.
    """
    alone = weight.device.type == "cpu" and torch.get_num_threads() == 1
    c = operators(weight, 0) if alone and weight.shape[1] % 16 == 0 else None
    return 0 if c is None else int(c.few())

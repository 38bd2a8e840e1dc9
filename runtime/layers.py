"""The seam every weight passes through.

A model asks for its layers by what they are (column, row, replicated); how a weight is cut over
ranks, stored and multiplied is decided here, so that tensor parallelism, quantisation and adapters
come without touching a model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NotSupportedError
from .dtypes import native_on_cpu
from .loader import ONE, Group, Weights

Kind = Literal["column", "row", "replicated"]


class Linear:
    """`y = x W^T + b` for x [T, inputs] -> [T, sum(outputs)].

    Several weights that read the same x are fused: `names[i]` gives outputs[i] of the outputs; one
    name gives them all where the checkpoint has fused them.
    kind: column cuts the outputs over the group, row the inputs, replicated nothing. shared: the
    weight, where another layer has loaded it already (tied embeddings).
    """

    __slots__ = ("_few", "_packed", "_turned", "bias", "weight")

    def __init__(
        self,
        weights: Weights,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        *,
        kind: Kind,
        bias: bool = False,
        shared: Tensor | None = None,
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
        if shared is None:
            parts = [
                weights.take(f"{name}.weight", (size, inputs), cut=dim, group=group)
                for name, size in named
            ]
            shared = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.weight: Tensor = shared
        self.bias: Tensor | None = None
        if bias:
            cut = 0 if kind == "column" else None
            self.bias = torch.cat(
                [
                    weights.take(f"{name}.bias", (size,), cut=cut, group=group)
                    for name, size in named
                ]
            )
        self._packed: Tensor | None = None
        self._turned: Tensor | None = None
        self._few = _turned_rows(self.weight)
        packs = _packs(self.weight)
        if self._few:
            self._turned = self.weight.t().contiguous()
        if packs and self._few < sys.maxsize:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight)
        if self._packed is not None or self._few == sys.maxsize:
            del self.weight

    def __call__(self, x: Tensor) -> Tensor:
        if self._turned is not None and x.shape[0] <= self._few:
            if self.bias is None:
                return torch.mm(x, self._turned)
            return torch.addmm(self.bias, x, self._turned)
        if self._packed is None:
            return F.linear(x, self.weight, self.bias)
        rows = len(x)
        size = padded_rows(rows)
        if size != rows:
            x = F.pad(x, (0, 0, 0, size - rows))
        y: Tensor = _packed_linear(x, self._packed, self.bias, "none", [], "")
        return y[:rows]

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """Add this layer's `y` to `residual` [T, sum(outputs)] in place, and return it."""
        if self._turned is None or x.shape[0] > self._few:
            return residual.add_(self(x))
        residual.addmm_(x, self._turned)
        return residual if self.bias is None else residual.add_(self.bias)


def padded_rows(rows: int) -> int:
    """The number of rows that as many are multiplied as: eight numbers for each power of two.

    oneDNN makes a kernel for each number of rows that it meets and keeps 1,024 of them (measured:
    0.6 ms and 0.6 MB each, a handful for each number of rows of a step): there must be few.
    """
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return -(-rows // step) * step


_packed_linear: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _packs(weight: Tensor) -> bool:
    """Whether to keep `weight` in oneDNN's own layout. Measured on an AMD EPYC, one thread: 1.1 to
    3 times as fast as F.linear from 1 to 512 rows in float32 and bfloat16 (31 against 17 GB/s at
    one row, 240 against 100 GFLOP/s at 512), and a row's result does not depend on how many there
    are."""
    if weight.device.type != "cpu" or _packed_linear is None:
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or native_on_cpu(weight.dtype)


def _turned_rows(weight: Tensor) -> int:
    """Up to how many rows to multiply by `weight` kept transposed, for MKL on an Intel CPU.

    Measured on a Xeon, one thread, float32, out of a cold cache, beside oneDNN's layout: with up to
    `_NARROW` outputs half the time from 1 to 16 rows, and not more up to 128; with more outputs 0.7
    of it at one row, 1.1 at four, 1.15 to 1.4 at 16, so that both are kept. Weights of more than
    `_SMALL` elements gain 7% at one row and lose as much as half from four on.
    """
    small = weight.device.type == "cpu" and weight.dtype == torch.float32
    small = small and weight.numel() <= _SMALL and weight.shape[1] <= _NARROW
    if not small or not torch.backends.mkl.is_available() or not _is_intel():
        return 0
    return sys.maxsize if weight.shape[0] <= _NARROW else _FEW


_SMALL = 1 << 21
_NARROW = 1023
_FEW = 3


@cache
def _is_intel() -> bool:
    """Whether this is an Intel CPU, as far as Linux tells."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False

"""Gates of MLPs (Shazeer, 2020): SiLU(gate) * up of the Llama family, GELU(gate) * up of Gemma."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .device import uses_triton
from .native import operators


def silu_mul_reference(gate_up: Tensor) -> Tensor:
    """[T, 2I], gate before up -> [T, I]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def silu_mul(gate_up: Tensor) -> Tensor:
    """See `silu_mul_reference`. May write over `gate_up`."""
    if uses_triton(gate_up):
        from . import triton_activation

        return triton_activation.silu_mul(gate_up)
    if (found := _native(gate_up, gelu=False)) is not None:
        return found
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate, inplace=True).mul_(up)


def gelu_mul_reference(gate_up: Tensor) -> Tensor:
    """[T, 2I], gate before up -> [T, I]; GELU by its tanh approximation."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh") * up


def gelu_mul(gate_up: Tensor) -> Tensor:
    """See `gelu_mul_reference`."""
    if (found := _native(gate_up, gelu=True)) is not None:
        return found
    gate, up = gate_up.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh").mul_(up)


def _native(gate_up: Tensor, *, gelu: bool) -> Tensor | None:
    c = operators(gate_up, gate_up.numel())
    if c is None or not gate_up.is_contiguous():
        return None
    rows, both = gate_up.shape
    out = torch.empty((rows, both // 2), dtype=gate_up.dtype)
    c.gated(gate_up.data_ptr(), out.data_ptr(), rows, both // 2, gelu)
    return out

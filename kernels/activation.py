"""Gates of MLPs (Shazeer, 2020): SiLU(gate) * up of the Llama family, GELU(gate) * up of Gemma."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .device import uses_triton


def silu_mul_reference(gate_up: Tensor) -> Tensor:
    """[T, 2I], gate before up -> [T, I]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def silu_mul(gate_up: Tensor) -> Tensor:
    """See `silu_mul_reference`. May write over `gate_up`."""
    if uses_triton(gate_up):
        from . import triton_activation

        return triton_activation.silu_mul(gate_up)
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate, inplace=True).mul_(up)


def gelu_mul_reference(gate_up: Tensor) -> Tensor:
    """[T, 2I], gate before up -> [T, I]; GELU by its tanh approximation."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh") * up


def gelu_mul(gate_up: Tensor) -> Tensor:
    """See `gelu_mul_reference`."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh").mul_(up)

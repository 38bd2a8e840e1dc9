"""SiLU(gate) * up in Triton: one read, one write."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


# fmt: off
@triton.jit
def _silu_mul_kernel(gate_up, out, width, row, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    gate = tl.load(gate_up + at * row + i, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + at * row + width + i, mask=inside, other=0.0)
    silu = (gate / (1.0 + tl.exp(-gate))).to(up.dtype)  # rounded, as two operators round
    product = silu.to(tl.float32) * up.to(tl.float32)
    tl.store(out + at * width + i, product.to(up.dtype), mask=inside)
# fmt: on


def silu_mul(gate_up: Tensor) -> Tensor:
    """See `activation.silu_mul_reference`."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    assert gate_up.stride(1) == 1
    out = torch.empty((rows, width), dtype=gate_up.dtype, device=gate_up.device)
    if rows:
        launch: Any = _silu_mul_kernel
        launch[(rows, triton.cdiv(width, BLOCK))](
            gate_up, out, width, gate_up.stride(0), BLOCK=BLOCK
        )
    return out

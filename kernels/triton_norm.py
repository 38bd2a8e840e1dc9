"""RMSNorm in Triton, alone and with the residual added first: a program a row."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .device import power_of_2


@triton.jit
def normed(x, weight, width, eps):
    """A row x in float32, zero from `width` on, times its weight; see
    `norm.rms_norm_reference`: rounded to the weight's dtype before the product."""
    scaled = x * tl.rsqrt(tl.sum(x * x, -1, keep_dims=True) / width + eps)
    return scaled.to(weight.dtype).to(tl.float32) * weight.to(tl.float32)


# fmt: off
@triton.jit
def _norm_kernel(
    x, delta, weight, out, width, eps, x_row, delta_row,
    BLOCK: tl.constexpr, ADDS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < width
    wide = tl.load(x + row * x_row + i, mask=inside, other=0.0).to(tl.float32)
    if ADDS:
        more = tl.load(delta + row * delta_row + i, mask=inside, other=0.0)
        whole = (wide + more.to(tl.float32)).to(more.dtype)
        tl.store(x + row * x_row + i, whole, mask=inside)
        wide = whole.to(tl.float32)
    scale = tl.load(weight + i, mask=inside, other=0.0)
    result = normed(wide, scale, width, eps)
    tl.store(out + row * width + i, result.to(out.dtype.element_ty), mask=inside)
# fmt: on


def rms_norm(x: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
    """See `norm.rms_norm_reference`; the product with a float32 weight is in float32 and rounded to
    x's dtype. x [..., H]; delta of the same shape is first added to x in place. A new tensor."""
    width = x.shape[-1]
    rows = x.reshape(-1, width) if delta is None else x.view(-1, width)
    added = rows if delta is None else delta.reshape(-1, width)
    assert rows.stride(1) == added.stride(1) == weight.stride(0) == 1
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if len(rows):
        block = power_of_2(width)
        launch: Any = _norm_kernel
        launch[(len(rows),)](
            rows, added, weight, out, width, eps, rows.stride(0), added.stride(0),
            BLOCK=block, ADDS=delta is not None, num_warps=min(max(block // 512, 1), 16),
        )  # fmt: skip
    return out

"""Keys and values quantised and written to their slots in Triton: a program a row and vector."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .device import power_of_2
from .kv_quant import GREATEST, KVScales


# fmt: off
@triton.jit
def _to_e4m3(x):
    """The nearest number that e4m3 has, of two as near the even one; |x| <= 448. Rounded here,
    so that it does not depend on how a device converts."""
    bits = x.to(tl.int32, bitcast=True)
    bits = (bits + 0x7FFFF + ((bits >> 20) & 1)) & -0x100000  # three bits behind the first
    tiny = (x + 24576.0) - 24576.0  # below 2^-6 in steps of 2^-9
    near = tl.where(tl.abs(x) < 0.015625, tiny, bits.to(tl.float32, bitcast=True))
    return tl.where(x == x, near, 0.0)


@triton.jit
def _write_kernel(
    both, slot_of, k, v, k_scales, v_scales, both_row, k_slot, k_head, v_slot, v_head, scale_slot,
    HEADS: tl.constexpr, K_WIDTH: tl.constexpr, V_WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    GREATEST: tl.constexpr, WHOLE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    vector = tl.program_id(1)  # keys of all heads, then values
    is_value = vector >= HEADS
    head = vector % HEADS
    slot = tl.load(slot_of + row).to(tl.int64)
    width = tl.where(is_value, V_WIDTH, K_WIDTH)
    start = tl.where(is_value, HEADS * K_WIDTH, 0) + head * width
    i = tl.arange(0, BLOCK)
    inside = i < width
    x = tl.load(both + row * both_row + start + i, mask=inside, other=0.0).to(tl.float32)
    size = tl.abs(x)
    # What is no number must not be lost in the greatest of the others.
    wrong = tl.max((x != x).to(tl.int32), 0)
    greatest = tl.where(wrong == 1, float("nan"), tl.max(size, 0))
    scale = tl.where(greatest == 0.0, 1.0, greatest / GREATEST)
    part = x / scale
    if not WHOLE:
        part = _to_e4m3(part)
    else:
        part = tl.where(part == part, part + 12582912.0 - 12582912.0, 0.0)  # to the nearest, even
    kept = part.to(k.dtype.element_ty)
    if is_value:
        tl.store(v + slot * v_slot + head * v_head + i, kept, mask=inside)
        tl.store(v_scales + slot * scale_slot + head, scale)
    else:
        tl.store(k + slot * k_slot + head * k_head + i, kept, mask=inside)
        tl.store(k_scales + slot * scale_slot + head, scale)
# fmt: on


def write_quantised(both: Tensor, slot_of: Tensor, k: Tensor, v: Tensor, scales: KVScales) -> None:
    """See `kv_quant.write_quantised`."""
    heads, k_width, v_width = k.shape[1], k.shape[2], v.shape[2]
    assert both.stride(1) == k.stride(2) == v.stride(2) == scales.k.stride(1) == 1
    assert scales.k.stride() == scales.v.stride()
    if len(both):
        launch: Any = _write_kernel
        launch[(len(both), 2 * heads)](
            both, slot_of, k, v, scales.k, scales.v,
            both.stride(0), *k.stride()[:2], *v.stride()[:2], scales.k.stride(0),
            HEADS=heads, K_WIDTH=k_width, V_WIDTH=v_width,
            BLOCK=power_of_2(max(k_width, v_width)), GREATEST=GREATEST[k.dtype],
            WHOLE=k.dtype == torch.int8, num_warps=1,
        )  # fmt: skip

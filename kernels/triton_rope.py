"""Queries and keys normed and turned, keys and values written to their slots, in one Triton kernel
that reads the fused projection once. A program a row and head."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .device import power_of_2
from .norm import RMSNorm
from .triton_norm import normed


# fmt: off
@triton.jit
def _prepare_kernel(
    qkv, queries, cos, sin, slot_of, cache, q_norm, k_norm, eps,
    qkv_row, cos_row, cache_row, turning,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    HAS_NORMS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    i = tl.arange(0, BLOCK)
    inside = i < WIDTH
    at = qkv + row * qkv_row + head * WIDTH
    x = tl.load(at + i, mask=inside, other=0.0)
    to = cache + tl.load(slot_of + row).to(tl.int64) * cache_row
    to += tl.maximum(head - HEADS, 0) * WIDTH  # keys of all heads, then values of all heads
    if head >= HEADS + KV_HEADS:
        tl.store(to + i, x, mask=inside)
    else:
        half = turning // 2
        turns = i < turning
        pair = tl.where(i < half, i + half, i - half)
        y = tl.load(at + pair, mask=turns, other=0.0)
        if HAS_NORMS:
            norm = q_norm if head < HEADS else k_norm
            weight = tl.load(norm + i, mask=inside, other=0.0)
            wide = x.to(tl.float32)
            factor = tl.rsqrt(tl.sum(wide * wide, -1, keep_dims=True) / WIDTH + eps)
            x = normed(wide, weight, WIDTH, eps).to(x.dtype)
            weight = tl.load(norm + pair, mask=turns, other=0.0)
            y = y.to(tl.float32) * factor
            y = (y.to(weight.dtype).to(tl.float32) * weight.to(tl.float32)).to(x.dtype)
        c = tl.load(cos + row * cos_row + i, mask=turns, other=1.0).to(tl.float32)
        s = tl.load(sin + row * cos_row + i, mask=turns, other=0.0).to(tl.float32)
        result = (x.to(tl.float32) * c + y.to(tl.float32) * s).to(qkv.dtype.element_ty)
        if head < HEADS:
            tl.store(queries + (row * HEADS + head) * WIDTH + i, result, mask=inside)
        else:
            tl.store(to + i, result, mask=inside)
# fmt: on


def turn_and_write(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    slot_of: Tensor,
    rows: Tensor,
    *,
    heads: int,
    kv_heads: int,
    width: int,
    norms: tuple[RMSNorm, RMSNorm] | None = None,
) -> Tensor:
    """See `rope.turn_and_write_reference`. qkv is left as it was."""
    assert qkv.stride(1) == rows.stride(1) == 1
    assert cos.stride() == sin.stride()
    queries = torch.empty((len(qkv), heads, width), dtype=qkv.dtype, device=qkv.device)
    if not len(qkv):
        return queries
    q_norm, k_norm = (None, None) if norms is None else (norm.weight for norm in norms)
    eps = 0.0 if norms is None else norms[0].eps
    launch: Any = _prepare_kernel
    launch[(len(qkv), heads + 2 * kv_heads)](
        qkv, queries, cos, sin, slot_of, rows, q_norm, k_norm, eps,
        qkv.stride(0), cos.stride(0), rows.stride(0), cos.shape[-1],
        HEADS=heads, KV_HEADS=kv_heads, WIDTH=width, BLOCK=power_of_2(width),
        HAS_NORMS=norms is not None, num_warps=1,
    )  # fmt: skip
    return queries

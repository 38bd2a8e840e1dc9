"""Keys and values in 8 bits: e4m3 floats or integers, with a scale per token and head.

A vector x is kept as x / s, s = max|x| / M, rounded to what the format has; M is its greatest
number. e4m3 has 4 significant bits: no element is off by more than 1/16 of itself, or by 2^-10 of s
where it is tiny. Integers are off by at most half of s, which is 1/254 of the greatest element.
Attention multiplies scores by the keys' scales and weights by the values', so that what it reads is
never made wide in memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .device import uses_triton

GREATEST = {torch.float8_e4m3fn: 448.0, torch.int8: 127.0}
"""The formats, and the greatest number of each."""


class KVScales(NamedTuple):
    """What each token's keys and values were divided by: k, v [slots, heads] float32."""

    k: Tensor
    v: Tensor


def quantise(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x [..., D] -> the same in `dtype`, and scales [...] float32. What is no number stays none."""
    wide = x.float()
    greatest = wide.abs().amax(-1)
    scale = torch.where(greatest == 0, 1.0, greatest / GREATEST[dtype])
    part = (wide / scale.unsqueeze(-1)).nan_to_num_(0.0)  # the scale says it: NaN, for all of them
    return (part.round() if dtype == torch.int8 else part).to(dtype), scale


def dequantise(x: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """What `quantise` was given, but for rounding."""
    return (x.float() * scale.unsqueeze(-1)).to(dtype)


def write_quantised(both: Tensor, slot_of: Tensor, k: Tensor, v: Tensor, scales: KVScales) -> None:
    """Keys of all heads, then values of all heads, both [T, heads * (Dk + Dv)], quantised into k
    [slots, heads, Dk], v [slots, heads, Dv] and scales at slot_of [T]."""
    if uses_triton(both):
        from . import triton_kv_quant

        triton_kv_quant.write_quantised(both, slot_of, k, v, scales)
        return
    split = k.shape[1] * k.shape[2]
    parts = both[:, :split], both[:, split:]
    for part, cache, scale in zip(parts, (k, v), scales, strict=True):
        found, scale[slot_of] = quantise(part.unflatten(1, cache.shape[1:]), cache.dtype)
        cache.view(torch.uint8)[slot_of] = found.view(torch.uint8)  # torch scatters no e4m3

"""Rotary position embedding (Su et al., 2021), and the write of keys and values to their slots."""

from __future__ import annotations

import torch
from torch import Tensor


def rope_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [T, heads, D]: pairs (i, i + D/2) by the angles whose cos and sin are [T, D/2]."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def rope_(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`rope_reference` in place on x [T, heads, D] (a view will do). cos [T, 1, D] holds each
    angle's cosine twice; sin [T, 1, D] its sine, negative in the first half."""
    half = x.shape[-1] // 2
    turned = x.roll(half, -1)
    return x.mul_(cos).addcmul_(turned, sin)


def write_kv(rows: Tensor, slot_of: Tensor, values: Tensor) -> None:
    """rows [slots, W] at slot_of [T] become `values` [T, W]; several writes to the trash slot
    leave any one of them."""
    rows.index_copy_(0, slot_of, values)

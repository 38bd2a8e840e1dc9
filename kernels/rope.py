"""Rotary position embedding (Su et al., 2021), and the write of keys and values to their slots."""

from __future__ import annotations

import torch
from torch import Tensor

from .device import uses_triton
from .native import operators
from .norm import RMSNorm, rms_norm_reference


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


def turn_and_write_reference(
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
    """What attention needs of qkv [T, (heads + 2 kv_heads) * width]: queries and keys normed by
    `norms` (of queries, of keys) over each head, their first cos.shape[-1] elements turned as
    `rope_` turns them; keys, then values, written to rows [slots, 2 kv_heads * width] at slot_of
    [T]; the queries returned [T, heads, width]."""
    parts = qkv.view(len(qkv), heads + 2 * kv_heads, width)
    q, k, v = parts.split([heads, kv_heads, kv_heads], dim=1)
    if norms is not None:
        q, k = (
            rms_norm_reference(part.to(norm.weight.dtype), norm.weight, norm.eps).to(qkv.dtype)
            for part, norm in zip((q, k), norms, strict=True)
        )
    turning = cos.shape[-1]
    half = turning // 2
    angles = cos[:, 0, :half].float(), sin[:, 0, half:].float()
    q, k = (
        torch.cat(
            (
                rope_reference(part[..., :turning].float(), *angles).to(qkv.dtype),
                part[..., turning:],
            ),
            dim=-1,
        )
        for part in (q, k)
    )
    rows[slot_of] = torch.cat((k, v), dim=1).flatten(1)
    return q


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
    """See `turn_and_write_reference`. May write over `qkv`, of which the queries may be a view."""
    if uses_triton(qkv):
        from . import triton_rope

        return triton_rope.turn_and_write(
            qkv, cos, sin, slot_of, rows, heads=heads, kv_heads=kv_heads, width=width, norms=norms
        )
    parts = qkv.view(qkv.shape[0], heads + 2 * kv_heads, width)
    c = operators(qkv, qkv.numel())
    if c is not None and _plain(qkv.dtype, qkv, cos, sin, rows) and _plain(torch.int64, slot_of):
        q_norm, k_norm = norms or (None, None)
        c.turn_and_write(
            qkv.data_ptr(),
            cos.data_ptr(),
            sin.data_ptr(),
            slot_of.data_ptr(),
            rows.data_ptr(),
            qkv.shape[0],
            heads,
            kv_heads,
            width,
            cos.shape[-1],
            None if q_norm is None else q_norm.wide.data_ptr(),
            None if k_norm is None else k_norm.wide.data_ptr(),
            0.0 if q_norm is None else q_norm.eps,
            0.0 if k_norm is None else k_norm.eps,
            q_norm is not None and q_norm.weight.dtype != qkv.dtype,
        )
        return parts.narrow(1, 0, heads)
    queries, turned = parts[:, :heads], parts[:, : heads + kv_heads]
    if norms is not None:
        for part, norm in zip((queries, turned[:, heads:]), norms, strict=True):
            part.copy_(norm(part))
    turning = cos.shape[-1]
    rope_(turned if turning == width else turned[..., :turning], cos, sin)
    write_kv(rows, slot_of, qkv[:, heads * width :])
    return queries


def _plain(dtype: torch.dtype, *tensors: Tensor) -> bool:
    """Whether all are of the type, without gaps: as native.c reads them."""
    return all(tensor.dtype == dtype and tensor.is_contiguous() for tensor in tensors)

"""Masked sampling: from logits to tokens. The torch reference, which is the CPU path too.

Order: bias, mask, temperature, top-k, top-p (of what top-k left, renormalised), min-p (against the
likeliest), then the Gumbel-max draw. The noise of a token depends on (seed, sample index, position
of the new token, token id) alone, never on the row, the batch or the device (P3).

The hash is the 32-bit finaliser of MurmurHash3 (Appleby, public domain) in a counter mode; its
arithmetic is kept in int64 below 2**32, which every backend has.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAR_TIE = 1e-4
_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B1


def _mix(x: Tensor) -> Tensor:
    """MurmurHash3's finaliser on int64 values in [0, 2**32)."""
    x = x ^ (x >> 16)
    x = (x * 0x85EBCA6B) & _WORD
    x = x ^ (x >> 13)
    x = (x * 0xC2B2AE35) & _WORD
    return x ^ (x >> 16)


def noise_keys(seeds: Tensor, indices: Tensor, positions: Tensor) -> Tensor:
    """Two 32-bit keys per row. seeds, indices, positions: [S] int64 -> [S, 2] int64."""
    low, high = seeds & _WORD, (seeds >> 32) & _WORD
    first = _mix(low ^ _mix((high + _GOLDEN * 1) & _WORD))
    second = _mix(((positions & _WORD) * _GOLDEN & _WORD) ^ _mix((indices + 0x51ED27) & _WORD))
    a = _mix(first ^ second)
    return torch.stack((a, _mix((a + first + _GOLDEN) & _WORD)), dim=-1)


def exponential_noise(keys: Tensor, tokens: Tensor) -> Tensor:
    """Standard exponential variates, one per (row, token id).

    keys [S, 2]; tokens [V] or [S, V] int64 -> [S, V] float32. Small values, which decide the
    draw, keep their full relative precision.
    """
    hashed = _mix(((tokens * _GOLDEN) & _WORD) ^ keys[:, :1])
    hashed = _mix((hashed + keys[:, 1:]) & _WORD)
    uniform = (hashed.to(torch.float32) + 0.5) * 2.0**-32
    return -torch.log1p(-uniform.clamp_(max=1 - 2.0**-24))


def unpack_mask(rows: Tensor, vocab: int) -> Tensor:
    """[S, ceil(V/32)] int32 words -> [S, V] bool; token t is bit t & 31 of word t >> 5."""
    bits = (rows.unsqueeze(-1) >> torch.arange(32, device=rows.device, dtype=rows.dtype)) & 1
    flat = bits.flatten(1).bool()
    if flat.shape[1] < vocab:
        return torch.nn.functional.pad(flat, (0, vocab - flat.shape[1]))
    return flat[:, :vocab]


def _keep_likeliest(scores: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """Set scores outside top-k, top-p and min-p to -inf. scores: [S, V] after temperature."""
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(scores.shape[1], device=scores.device)
    limit = torch.where(top_k > 0, top_k, scores.shape[1]).unsqueeze(-1)
    ordered = ordered.masked_fill(rank >= limit, -torch.inf)
    probs = ordered.softmax(dim=-1)
    before = probs.cumsum(dim=-1) - probs  # mass of the likelier ones: the first always stays
    drop = (before >= top_p.unsqueeze(-1)) & (top_p < 1).unsqueeze(-1)
    drop |= probs < min_p.unsqueeze(-1) * probs[:, :1]
    ordered = ordered.masked_fill(drop, -torch.inf)
    return torch.empty_like(scores).scatter_(1, order, ordered)


def masked_sample(
    logits: Tensor,
    *,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    min_p: Tensor,
    keys: Tensor | None,
    allowed: Tensor | None = None,
    filtered: bool = True,
) -> tuple[Tensor, Tensor]:
    """Choose one token per row.

    logits [S, V] float32, biased already. temperature, top_p, min_p [S] float32; top_k [S] int64
    (0: all). keys [S, 2] from `noise_keys`, None when every row is greedy (temperature 0).
    allowed [S, V] bool or None. filtered: whether any row uses top_k, top_p or min_p.
    Returns tokens [S] int64 and near_ties [S] bool: whether another token was within NEAR_TIE of
    the chosen one. Of equal tokens the lowest id wins.
    """
    scores = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    if keys is not None:
        warm = (temperature > 0).unsqueeze(-1)
        scaled = scores / torch.where(warm, temperature.unsqueeze(-1), 1.0)
        if filtered:
            scaled = _keep_likeliest(scaled, top_k, top_p, min_p)
        tokens = torch.arange(logits.shape[1], device=logits.device)
        scaled = scaled - exponential_noise(keys, tokens).log()
        scores = torch.where(warm, scaled, scores)
    best = scores.max(dim=-1, keepdim=True)
    near = (scores >= best.values - NEAR_TIE).sum(dim=-1) > 1
    return best.indices.squeeze(-1), near

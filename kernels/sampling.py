"""Masked sampling: from logits to tokens. The torch reference, which is the CPU path too.

Order: bias, penalties, mask, temperature, top-k, top-p (of what top-k left, renormalised), min-p
(against the likeliest), then the Gumbel-max draw. The noise of a token depends on (seed, sample
index, position of the new token, token id) alone, never on the row, the batch or the device (P3).

The hash is the 32-bit finaliser of MurmurHash3 (Appleby, public domain) over a counter; int32
arithmetic wraps as it should on every backend.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAR_TIE = 1e-4
_BEST = 1024  # how many of the likeliest tokens are looked at before all are sorted
_CHUNK = 1 << 17  # elements hashed at once: what a core's cache holds


def _signed(word: int) -> int:
    """A 32-bit word as the int32 with the same bits."""
    return word - (1 << 32) if word >= 1 << 31 else word


_FIRST, _SECOND = _signed(0x85EBCA6B), _signed(0xC2B2AE35)
_GOLDEN = _signed(0x9E3779B9)


def _mix(x: Tensor) -> Tensor:
    """MurmurHash3's finaliser, in place on int32. Shifts are logical."""
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= _FIRST
    x ^= (x >> 13).bitwise_and_(0x7FFFF)
    x *= _SECOND
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


def noise_keys(seeds: Tensor, indices: Tensor, positions: Tensor) -> Tensor:
    """Two 32-bit keys per row. seeds, indices, positions: [S] int64 -> [S, 2] int32."""
    low, high = seeds.to(torch.int32), (seeds >> 32).to(torch.int32)
    seed = _mix(low ^ _mix(high + _GOLDEN))
    place = _mix(positions.to(torch.int32) * _GOLDEN ^ _mix(indices.to(torch.int32) + 1))
    first = _mix(seed ^ place)
    return torch.stack((first, _mix(first + seed * 3 + _GOLDEN)), dim=-1)


def exponential_noise(keys: Tensor, count: int) -> Tensor:
    """Standard exponential variates, one per row and token id.

    keys [S, 2] int32 -> [S, count] float32. Small values, which decide the draw, keep their full
    relative precision.
    """
    tokens = _mix(torch.arange(count, dtype=torch.int32, device=keys.device) * _GOLDEN)
    out = torch.empty((len(keys), count), dtype=torch.float32, device=keys.device)
    rows = max(1, _CHUNK // count) if keys.device.type == "cpu" else len(keys)
    for part, key in zip(out.split(rows), keys.split(rows), strict=True):
        hashed = _mix((tokens ^ key[:, :1]).add_(key[:, 1:])).bitwise_and_(0x7FFFFFFF)
        torch.add(hashed, 0.5, out=part)
        part.mul_(-(2.0**-31)).clamp_(min=2.0**-24 - 1).log1p_().neg_()
    return out


def unpack_mask(rows: Tensor, vocab: int) -> Tensor:
    """[S, ceil(V/32)] int32 words -> [S, V] bool; token t is bit t & 31 of word t >> 5."""
    bits = (rows.unsqueeze(-1) >> torch.arange(32, device=rows.device, dtype=rows.dtype)) & 1
    flat = bits.flatten(1).bool()
    if flat.shape[1] < vocab:
        return torch.nn.functional.pad(flat, (0, vocab - flat.shape[1]))
    return flat[:, :vocab]


def _thresholds(scores: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, width: int) -> Tensor:
    """The least score each row keeps, from its `width` best; NaN where those do not suffice."""
    best = scores.topk(width, dim=-1).values
    rank = torch.arange(width, device=scores.device)
    limit = torch.where(top_k > 0, top_k.clamp(max=scores.shape[1]), scores.shape[1]).unsqueeze(-1)
    inside = best.masked_fill(rank >= limit, -torch.inf)
    total = inside.logsumexp(-1, keepdim=True)
    if bool((limit > width).any()):
        total = torch.where(limit <= width, total, scores.logsumexp(-1, keepdim=True))
    probs = (inside - total).exp()
    before = probs.cumsum(dim=-1) - probs  # mass of the likelier ones: the first always stays
    nucleus = (before < top_p.unsqueeze(-1)) | (top_p >= 1).unsqueeze(-1)
    kept = nucleus & (rank < limit)
    least = best.masked_fill(~kept, torch.inf).amin(dim=-1)
    floor = best[:, 0] + min_p.log()
    if width < scores.shape[1]:
        within = limit.squeeze(-1) <= width
        enough = within | ((top_k == 0) & (~kept[:, -1] | (best[:, -1] < floor)))
        least = torch.where(enough, least, torch.nan)
    return torch.maximum(least, floor)


def _keep_likeliest(scores: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """Set scores outside top-k, top-p and min-p to -inf; of tokens that tie at the border all stay.
    scores: [S, V] after temperature."""
    vocab = scores.shape[1]
    least = _thresholds(scores, top_k, top_p, min_p, min(_BEST, vocab))
    short = least.isnan()
    if bool(short.any()):  # a row that is done keeps its own: no neighbour's needs change it (P3)
        least = torch.where(short, _thresholds(scores, top_k, top_p, min_p, vocab), least)
    return scores.masked_fill(scores < least.unsqueeze(-1), -torch.inf)


def penalise(
    logits: Tensor,
    counts: Tensor,
    seen: Tensor,
    *,
    repetition: Tensor,
    frequency: Tensor,
    presence: Tensor,
) -> Tensor:
    """Logits with penalties on tokens that were there before, in this order: `repetition` divides
    a positive logit of a token in the prompt or the output and multiplies a negative one;
    `frequency` is taken off once per time the token was generated, `presence` once if it ever was.

    logits [S, V] float32; counts [S, V] int32: how often each token was generated; seen [S, V]
    bool: whether it is in the prompt; the penalties [S] float32.
    """
    here = counts > 0
    factor = torch.where(here | seen, repetition.unsqueeze(-1), 1.0)
    logits = torch.where(logits > 0, logits / factor, logits * factor)
    return logits - frequency.unsqueeze(-1) * counts - presence.unsqueeze(-1) * here


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

    logits [S, V] float32, biased and penalised already. temperature, top_p, min_p [S] float32;
    top_k [S] int64 (0: all). keys [S, 2] int32 from `noise_keys`, None when every row is greedy
    (temperature 0). allowed [S, V] bool or None. filtered: whether any row uses top_k, top_p or
    min_p.
    Returns tokens [S] int64 and near_ties [S] bool: whether another token was within NEAR_TIE of
    the chosen one. Of equal tokens the lowest id wins.
    """
    scores = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    if keys is not None:
        warm = (temperature > 0).unsqueeze(-1)
        # Below the likeliest: a temperature near 0 overflows to -inf then, never to a tie of inf.
        best = scores.max(dim=-1, keepdim=True).values
        scaled = (scores - best) / torch.where(warm, temperature.unsqueeze(-1), 1.0)
        if filtered:
            scaled = _keep_likeliest(scaled, top_k, top_p, min_p)
        scaled -= exponential_noise(keys, logits.shape[1]).log_()
        scores = torch.where(warm, scaled, scores)
    chosen = scores.max(dim=-1, keepdim=True)
    near = (scores >= chosen.values - NEAR_TIE).sum(dim=-1) > 1
    return chosen.indices.squeeze(-1), near

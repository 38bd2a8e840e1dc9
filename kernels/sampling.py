"""Masked sampling: from logits to tokens. The torch reference, which is the CPU path too.

Order: bias, penalties, mask, temperature, top-k, top-p (of what top-k left, renormalised), min-p
(against the likeliest), then the Gumbel-max draw. The noise of a token depends on (seed, sample
index, position of the new token, token id) alone, never on the row, the batch or the device (P3).

The hash is the 32-bit finaliser of MurmurHash3 (Appleby, public domain) over a counter; int32
arithmetic wraps as it should on every backend.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from .native import operators

NEAR_TIE = 1e-4
"""How far two float32 logits may move apart by the shapes of the tensors that they are computed in.
Those of a half-precision model move farther, by an amount that nothing bounds."""
_ROUNDING = 4e-6  # what float32 rounds off a noisy score, which is seldom above 30
_MASS_ROUNDING = 1e-6  # and off a sum of probabilities
COLDEST, HOTTEST = 1e-30, 1e30
"""Temperatures (above 0) beyond which nothing changes, and a quotient overflows."""
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
    if rows.device.type == "cpu" and sys.byteorder == "little":  # thirty times faster than below
        octets = rows.contiguous().numpy().view(np.uint8)
        return torch.from_numpy(
            np.unpackbits(octets, axis=1, count=vocab, bitorder="little").view(bool)
        )
    bits = (rows.unsqueeze(-1) >> torch.arange(32, device=rows.device, dtype=rows.dtype)) & 1
    flat = bits.flatten(1).bool()
    if flat.shape[1] < vocab:
        return torch.nn.functional.pad(flat, (0, vocab - flat.shape[1]))
    return flat[:, :vocab]


def mask_logits(logits: Tensor, pool: Tensor, rows: Tensor, samples: Tensor) -> None:
    """Put -inf, in place, where row rows[i] of the pool [., ceil(V/32)] forbids a token to the
    logits [S, V] of sample samples[i]; rows, samples [C] int64, no sample twice."""
    c = operators(logits, len(rows) * logits.shape[1])
    if c is not None and logits.is_contiguous() and pool.is_contiguous():
        pointers = (x.data_ptr() for x in (logits, samples, rows, pool))
        c.mask(*pointers, len(rows), logits.shape[1], pool.shape[1])
        return
    allowed = unpack_mask(pool[rows], logits.shape[1])
    if len(rows) == len(logits):
        logits.masked_fill_(~allowed.index_select(0, samples.argsort()), -torch.inf)
    else:
        logits[samples] = logits[samples].masked_fill_(~allowed, -torch.inf)


def _borders(
    scores: Tensor, doubt: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, width: int
) -> Tensor:
    """[3, S]: the least score each row keeps; the least of those that it might keep if scores moved
    apart by `doubt` [S]; and the score above which it keeps all in spite of that. From its `width`
    best; NaN where those do not suffice."""
    vocab = scores.shape[1]
    best = scores.topk(width, dim=-1).values
    rank = torch.arange(width, device=scores.device)
    limit = torch.where(top_k > 0, top_k.clamp(max=vocab), vocab).unsqueeze(-1)
    within = rank < limit
    inside = best.masked_fill(~within, -torch.inf)
    total = inside.logsumexp(-1, keepdim=True)
    if bool((limit > width).any()):
        total = torch.where(limit <= width, total, scores.logsumexp(-1, keepdim=True))
    probs = (inside - total).exp()
    before = probs.cumsum(dim=-1) - probs  # mass of the likelier ones: the first always stays

    def kept(mass: Tensor) -> Tensor:
        nucleus = (before < mass.unsqueeze(-1)) | (top_p >= 1).unsqueeze(-1)
        return (nucleus & within).sum(dim=-1).clamp(min=1)

    odds = top_p.logit()  # where scores move apart by `doubt`, log odds of a mass do as well
    fewest = kept((odds - doubt).sigmoid() - _MASS_ROUNDING)
    most = kept((odds + doubt).sigmoid() + _MASS_ROUNDING)
    ladder = torch.nn.functional.pad(best, (0, 1), value=-torch.inf)
    ends = torch.stack((kept(top_p) - 1, most - 1, fewest))
    free = (top_k == 0) & (top_p >= 1)
    least, may, must = ladder.gather(-1, ends.T).T.masked_fill(free, -torch.inf)
    floor = best[:, 0] + min_p.log()
    found = torch.stack(
        (
            torch.maximum(least, floor),
            torch.maximum(may, floor) - doubt,
            torch.maximum(must, torch.minimum(floor, ladder[:, 1]))
            + doubt,  # the best has no floor
        )
    )
    if width == vocab:
        return found
    summed = (limit.squeeze(-1) <= width) | (top_k == 0)
    enough = free | (summed & ((most < width) | (best[:, -1] < floor - doubt)))
    return torch.where(enough, found, torch.nan)


def _filters(scores: Tensor, doubt: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """`_borders` of top-k, top-p and min-p; of tokens that tie at a border all stay.
    scores: [S, V] after temperature."""
    vocab = scores.shape[1]
    found = _borders(scores, doubt, top_k, top_p, min_p, min(_BEST, vocab))
    short = found[0].isnan()
    if bool(short.any()):  # a row that is done keeps its own: no neighbour's needs change it (P3)
        found = torch.where(short, _borders(scores, doubt, top_k, top_p, min_p, vocab), found)
    return found


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


def masked_greedy(logits: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """`masked_sample` where all rows are greedy."""
    scores = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    c = operators(scores, scores.numel())
    if c is not None and scores.dtype == torch.float32 and scores.is_contiguous():
        rows, vocab = scores.shape
        token_ids = torch.empty(rows, dtype=torch.int64)
        near = torch.empty(rows, dtype=torch.bool)
        pointers = scores.data_ptr(), token_ids.data_ptr(), near.data_ptr()
        c.greedy(*pointers, rows, vocab, NEAR_TIE)
        return token_ids, near
    best, tokens = scores.max(dim=-1, keepdim=True)
    # The likeliest is taken out for a moment, in place: a copy of all scores takes far longer.
    second = scores.scatter_(-1, tokens, -torch.inf).amax(dim=-1)
    scores.scatter_(-1, tokens, best)
    return tokens.squeeze(-1), second >= best.squeeze(-1) - NEAR_TIE


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
    Returns tokens [S] int64 and near_ties [S] bool: whether the token might have been another if
    logits had moved apart by NEAR_TIE, by what is drawn or by what the filters let through. Of
    equal tokens the lowest id wins.
    """
    if keys is None:
        return masked_greedy(logits, allowed)
    scores = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    warm = (temperature > 0).unsqueeze(-1)
    heat = torch.where(warm, temperature.clamp(COLDEST, HOTTEST).unsqueeze(-1), 1.0)
    # Below the likeliest: a temperature near 0 overflows to -inf then, never to a tie of inf.
    scaled = (scores - scores.max(dim=-1, keepdim=True).values) / heat
    noisy = torch.where(warm, scaled - exponential_noise(keys, logits.shape[1]).log_(), scaled)
    doubt = NEAR_TIE / heat + torch.where(warm, _ROUNDING, 0.0)
    if not filtered:
        chosen = noisy.max(dim=-1, keepdim=True)
        near = (noisy >= chosen.values - doubt).sum(dim=-1) > 1
        return chosen.indices.squeeze(-1), near
    borders = _filters(scaled, doubt.squeeze(-1), top_k, top_p, min_p).unsqueeze(-1)
    least, may, must = torch.where(warm, borders, -torch.inf)
    chosen = noisy.masked_fill(scaled < least, -torch.inf).max(dim=-1, keepdim=True)
    rivals = (noisy >= chosen.values - doubt) & (scaled >= may)
    doubtful = scaled.gather(-1, chosen.indices) <= must
    return chosen.indices.squeeze(-1), (rivals.sum(dim=-1) > 1) | doubtful.squeeze(-1)

"""Masked sampling without top-k, top-p and min-p in Triton: a program a row, which reads its logits
twice and writes a token; no scores are kept.

The noise is `sampling.exponential_noise`: of the same integers, and equal but for rounding.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .sampling import _ROUNDING, COLDEST, HOTTEST, NEAR_TIE

BLOCK = 4096


# fmt: off
@triton.jit
def mix(x):
    """MurmurHash3's finaliser of uint32."""
    x = x ^ (x >> 16)
    x = x * tl.full(x.shape, 0x85EBCA6B, tl.uint32)
    x = x ^ (x >> 13)
    x = x * tl.full(x.shape, 0xC2B2AE35, tl.uint32)
    return x ^ (x >> 16)


@triton.jit
def hashed(first, second, token):
    """31 bits of a row's two keys and a token's id, as int32."""
    spread = mix(token.to(tl.uint32) * tl.full(token.shape, 0x9E3779B9, tl.uint32))
    bits = mix((spread ^ first.to(tl.uint32)) + second.to(tl.uint32))
    return bits.to(tl.int32) & 0x7FFFFFFF


@triton.jit
def exponential(bits):
    """-log(1 - u) of u = (bits + 0.5) / 2^31; by its series where u is small."""
    u = tl.minimum((bits.to(tl.float32) + 0.5) * (1.0 / 2147483648.0), 1.0 - 1.0 / 16777216.0)
    series = u * (1.0 / 9.0) + 1.0 / 8.0
    series = series * u + 1.0 / 7.0
    series = series * u + 1.0 / 6.0
    series = series * u + 1.0 / 5.0
    series = series * u + 1.0 / 4.0
    series = series * u + 1.0 / 3.0
    series = series * u + 1.0 / 2.0
    series = (series * u + 1.0) * u
    return tl.where(u < 0.125, series, -tl.log(1.0 - u))


@triton.jit
def allowed_scores(logits, words, word_count, masked, token, vocab):
    """Logits of tokens, -inf where the row's mask forbids them and past the vocabulary."""
    inside = token < vocab
    score = tl.load(logits + token, mask=inside, other=float("-inf"))
    at = token >> 5
    word = tl.load(words + at, mask=inside & (at < tl.where(masked >= 0, word_count, 0)), other=0)
    bit = tl.where(masked >= 0, (word >> (token & 31)) & 1, 1)
    return tl.where(bit != 0, score, float("-inf"))


@triton.jit
def _sample_kernel(
    logits, pool, rows, temperature, keys, tokens, near, vocab, logits_row, word_count,
    COLDEST: tl.constexpr, HOTTEST: tl.constexpr, NEAR_TIE: tl.constexpr, ROUNDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    masked = tl.load(rows + row)
    words = pool + tl.maximum(masked, 0) * word_count
    logits += row * logits_row
    heat = tl.load(temperature + row)
    warm = heat > 0.0
    heat = tl.where(warm, tl.minimum(tl.maximum(heat, COLDEST), HOTTEST), 1.0)
    first, second = tl.load(keys + row * 2), tl.load(keys + row * 2 + 1)
    top = tl.full([], float("-inf"), tl.float32)
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        score = allowed_scores(logits, words, word_count, masked, token, vocab)
        top = tl.maximum(top, tl.max(score, 0))
    best = tl.full([], float("-inf"), tl.float32)
    second_best = tl.full([], float("-inf"), tl.float32)
    chosen = tl.full([], 0, tl.int32)
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        score = allowed_scores(logits, words, word_count, masked, token, vocab)
        score = (score - top) / heat
        if warm:
            score = score - tl.log(exponential(hashed(first, second, token)))
        here = tl.max(score, 0)
        at = tl.min(tl.where(score == here, token, 2147483647), 0)  # of equals the lowest
        next_best = tl.max(tl.where(token == at, float("-inf"), score), 0)
        second_best = tl.maximum(tl.maximum(second_best, next_best), tl.minimum(best, here))
        chosen = tl.where(here > best, at, chosen)
        best = tl.maximum(best, here)
    doubt = NEAR_TIE / heat + tl.where(warm, ROUNDING, 0.0)
    tl.store(tokens + row, chosen.to(tl.int64))
    tl.store(near + row, second_best >= best - doubt)
# fmt: on


def masked_sample(
    logits: Tensor,
    *,
    temperature: Tensor,
    keys: Tensor,
    pool: Tensor,
    rows: Tensor,
) -> tuple[Tensor, Tensor]:
    """`sampling.masked_sample` without filters. logits [S, V] float32; pool [masks, ceil(V / 32)]
    int32, rows [S] int64: which of its masks holds for a row, -1 for none. The row of a seat whose
    temperature is 0 is greedy whatever its keys."""
    count, vocab = logits.shape
    assert logits.stride(1) == 1
    assert pool.is_contiguous()
    assert keys.is_contiguous()
    tokens = torch.empty(count, dtype=torch.int64, device=logits.device)
    near = torch.empty(count, dtype=torch.bool, device=logits.device)
    if count:
        launch: Any = _sample_kernel
        launch[(count,)](
            logits, pool, rows, temperature, keys, tokens, near,
            vocab, logits.stride(0), pool.shape[1],
            COLDEST=COLDEST, HOTTEST=HOTTEST, NEAR_TIE=NEAR_TIE, ROUNDING=_ROUNDING,
            BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
    return tokens, near

"""Masked sampling in Triton: a program a row, which reads its logits a few times and writes a
token; no scores are kept.

A row is a sample of a *seat*, whose temperature, top-k, top-p, min-p, seed and index lie in tables
on the device: a step says which seats its rows are of, at which positions, and which masks hold.
Borders of top-k, top-p and min-p are found first (`triton_filters.py`), where a row has any.
Penalties and biases are put on the logits before that (`penalise`, `add`).

What differs from step to step is marked, lest a kernel is compiled anew in the midst of serving for
a number that is 1, or an address that is no multiple of 16.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .sampling import _MASS_ROUNDING, _ROUNDING, COLDEST, HOTTEST, NEAR_TIE
from .triton_filters import NEAREST, allowed_scores, best_score, borders_kernel, clamped_heat
from .triton_noise import exponential, hashed, noise_keys

BLOCK = 4096


class SeatTables(NamedTuple):
    """How each seat samples. temperature, top_p, min_p [seats] float32; top_k, seed, sample_index
    [seats] int64."""

    temperature: Tensor
    top_p: Tensor
    min_p: Tensor
    top_k: Tensor
    seed: Tensor
    sample_index: Tensor


# fmt: off
@triton.jit(do_not_specialize_on_alignment=["rows", "seats", "positions"])
def _sample_kernel(
    logits, pool, rows, temperatures, seeds, indices, seats, positions, borders, tokens, near,
    vocab, logits_row, word_count,
    COLDEST: tl.constexpr, HOTTEST: tl.constexpr, NEAR_TIE: tl.constexpr, ROUNDING: tl.constexpr,
    FILTERED: tl.constexpr, BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    seat = tl.load(seats + row)
    masked = tl.load(rows + row)
    words = pool + tl.maximum(masked, 0) * word_count
    logits += row * logits_row
    temperature = tl.load(temperatures + seat)
    warm = temperature > 0.0
    heat = clamped_heat(temperature, COLDEST, HOTTEST)
    first, second = noise_keys(  # pyright: ignore[reportGeneralTypeIssues]
        tl.load(seeds + seat), tl.load(indices + seat), tl.load(positions + row)
    )
    doubt = NEAR_TIE / heat + tl.where(warm, ROUNDING, 0.0)
    least = tl.full([], float("inf"), tl.float32)
    may, must = least, least
    if FILTERED:
        least, may = tl.load(borders + row * 3), tl.load(borders + row * 3 + 1)
        must = tl.load(borders + row * 3 + 2)
    top = best_score(logits, words, word_count, masked, vocab, BLOCK)
    best = tl.full([], float("-inf"), tl.float32)  # of those that are kept
    chosen, far = tl.full([], 0, tl.int32), tl.full([], 0.0, tl.float32)
    rival = tl.full([], float("-inf"), tl.float32)  # the best two of those that might be
    rival_at, next_rival = tl.full([], 0, tl.int32), rival
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        score = allowed_scores(logits, words, word_count, masked, token, vocab)
        distance = (top - score) / heat
        noisy = -distance
        if warm:
            noisy = noisy - tl.log(exponential(hashed(first, second, token)))
        rivals = tl.where(distance <= may, noisy, float("-inf"))
        here = tl.max(rivals, 0)
        at = tl.min(tl.where(rivals == here, token, 2147483647), 0)  # of equals the lowest
        below = tl.max(tl.where(token == at, float("-inf"), rivals), 0)
        next_rival = tl.maximum(tl.maximum(next_rival, below), tl.minimum(rival, here))
        rival_at = tl.where(here > rival, at, rival_at)
        rival = tl.maximum(rival, here)
        kept = tl.where(distance <= least, noisy, float("-inf"))
        here = tl.max(kept, 0)
        at = tl.min(tl.where(kept == here, token, 2147483647), 0)
        away = tl.min(tl.where(token == at, distance, float("inf")), 0)
        far = tl.where(here > best, away, far)
        chosen = tl.where(here > best, at, chosen)
        best = tl.maximum(best, here)
    other = tl.where(rival_at == chosen, next_rival, rival)
    tl.store(tokens + row, chosen.to(tl.int64))
    tl.store(near + row, (other >= best - doubt) | (far >= must))


@triton.jit(do_not_specialize_on_alignment=["repetitions", "frequencies", "presences"])
def _penalise_kernel(
    logits, counts, seen, which, rows, repetitions, frequencies, presences, vocab, logits_row,
    counts_row, BLOCK: tl.constexpr,
):
    i = tl.program_id(0)
    token = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = token < vocab
    table = tl.load(rows + i) * counts_row
    at = logits + tl.load(which + i) * logits_row + token
    score = tl.load(at, mask=inside, other=0.0)
    count = tl.load(counts + table + token, mask=inside, other=0)
    prompt = tl.load(seen + table + token, mask=inside, other=0) != 0
    repetition = tl.load(repetitions + i)
    factor = tl.where((count > 0) | prompt, repetition, 1.0)
    score = tl.where(score > 0, score / factor, score * factor)
    score = score - tl.load(frequencies + i) * count.to(tl.float32)
    score = score - tl.where(count > 0, tl.load(presences + i), 0.0)
    tl.store(at, score, mask=inside)


@triton.jit(do_not_specialize=["count"])
def _add_kernel(logits, rows, tokens, values, count, logits_row, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    row, token = tl.load(rows + i, mask=inside), tl.load(tokens + i, mask=inside)
    at = logits + row * logits_row + token
    value = tl.load(values + i, mask=inside)
    tl.store(at, tl.load(at, mask=inside) + value, mask=inside)
# fmt: on


def masked_sample(
    logits: Tensor,
    *,
    tables: SeatTables,
    seats: Tensor,
    positions: Tensor,
    pool: Tensor,
    rows: Tensor,
    filtered: bool = True,
) -> tuple[Tensor, Tensor]:
    """`sampling.masked_sample` of rows that are samples of `seats` [S] at `positions` [S] int64.
    logits [S, V] float32; pool [masks, ceil(V / 32)] int32, rows [S] int64: which of its masks
    holds for a row, -1 for none. filtered: whether any row uses top_k, top_p or min_p."""
    count, vocab = logits.shape
    assert logits.dtype == torch.float32
    assert logits.stride(1) == 1
    assert pool.is_contiguous()
    tokens = torch.empty(count, dtype=torch.int64, device=logits.device)
    near = torch.empty(count, dtype=torch.bool, device=logits.device)
    if not count:
        return tokens, near
    given = {
        "COLDEST": COLDEST, "HOTTEST": HOTTEST, "NEAR_TIE": NEAR_TIE, "ROUNDING": _ROUNDING,
        "BLOCK": BLOCK, "num_warps": 8,
    }  # fmt: skip
    sizes = vocab, logits.stride(0), pool.shape[1]
    borders = None
    launch: Any
    if filtered:
        borders = torch.empty((count, 3), device=logits.device)
        nearest = torch.empty((count, NEAREST), device=logits.device)
        launch = borders_kernel
        launch[(count,)](
            logits, pool, rows, tables.temperature, tables.top_k, tables.top_p, tables.min_p,
            seats, nearest, borders, *sizes,
            MASS_ROUNDING=_MASS_ROUNDING, NEAREST=NEAREST, **given,
        )  # fmt: skip
    launch = _sample_kernel
    launch[(count,)](
        logits, pool, rows, tables.temperature, tables.seed, tables.sample_index, seats, positions,
        borders, tokens, near, *sizes, FILTERED=filtered, **given,
    )  # fmt: skip
    return tokens, near


def penalise(
    logits: Tensor,
    which: Tensor,
    counts: Tensor,
    seen: Tensor,
    rows: Tensor,
    *,
    repetition: Tensor,
    frequency: Tensor,
    presence: Tensor,
) -> None:
    """`sampling.penalise` of the rows `which` [C] int64 of logits [S, V] float32, in place. rows
    [C] int64: theirs of counts [., V] int32 and seen [., V] bool; the penalties [C] float32."""
    assert counts.stride() == seen.stride()
    assert logits.stride(1) == counts.stride(1) == 1
    vocab = logits.shape[1]
    if len(which):
        launch: Any = _penalise_kernel
        launch[(len(which), triton.cdiv(vocab, BLOCK))](
            logits, counts, seen.view(torch.uint8), which, rows, repetition, frequency, presence,
            vocab, logits.stride(0), counts.stride(0), BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip


def add(logits: Tensor, rows: Tensor, tokens: Tensor, values: Tensor) -> None:
    """Add values [N] float32 to logits [S, V] at rows and tokens [N] int64, in place: no place
    twice."""
    assert logits.stride(1) == 1
    count = len(rows)
    if count:
        launch: Any = _add_kernel
        launch[(triton.cdiv(count, 256),)](
            logits, rows, tokens, values, count, logits.stride(0), BLOCK=256
        )

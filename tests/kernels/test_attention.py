"""The fast path against the reference, and the reference against a plain softmax."""

from __future__ import annotations

import math
import time

import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.kernels.attention import (
    PIECE,
    TOGETHER,
    AttentionBatch,
    Workspace,
    paged_attention,
    paged_attention_reference,
    visible,
)
from tests.attention_cases import Case, make_case


def _compare(case: Case, **options: object) -> None:
    arguments = (case.q, case.k, case.v, case.batch)
    fast = paged_attention(*arguments, scale=0.3, **options)  # type: ignore[arg-type]
    slow = paged_attention_reference(*arguments, scale=0.3, **options)  # type: ignore[arg-type]
    assert fast.shape == slow.shape
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


_shape = st.one_of(
    st.tuples(st.just(1), st.integers(1, 300)),
    st.tuples(st.integers(1, 6), st.integers(6, 90)),
    st.integers(1, 3 * TOGETHER).flatmap(
        lambda rows: st.tuples(st.just(rows), st.integers(rows, rows + 60))
    ),
)


@given(
    shapes=st.lists(_shape, min_size=1, max_size=7),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 6), (8, 1)]),
    widths=st.sampled_from([(8, 8), (12, 4), (4, 12)]),
    window=st.sampled_from([None, 1, 5, 40, 1000]),
    contiguous=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=150)
def test_fast_equals_reference(
    shapes: list[tuple[int, int]],
    heads: tuple[int, int],
    widths: tuple[int, int],
    window: int | None,
    contiguous: bool,
    seed: int,
) -> None:
    case = make_case(shapes, heads=heads, widths=widths, contiguous=contiguous, seed=seed)
    _compare(case, window=window)


@given(
    shapes=st.lists(_shape, min_size=1, max_size=7),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 6), (8, 1)]),
    widths=st.sampled_from([(8, 8), (12, 4), (4, 12)]),
    window=st.sampled_from([None, 1, 40]),
    softcap=st.sampled_from([None, 0.5, 30.0]),
    sinks=st.booleans(),
    contiguous=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=100)
def test_softcap_and_sinks(
    shapes: list[tuple[int, int]],
    heads: tuple[int, int],
    widths: tuple[int, int],
    window: int | None,
    softcap: float | None,
    sinks: bool,
    contiguous: bool,
    seed: int,
) -> None:
    case = make_case(shapes, heads=heads, widths=widths, contiguous=contiguous, seed=seed)
    drawn = torch.randn(heads[0]) if sinks else None
    _compare(case, softcap=softcap, sinks=drawn, window=window)


def test_long_rows_with_a_softcap_are_cut_in_pieces() -> None:
    """Scores of a whole prompt at once would be quadratic memory."""
    case = make_case([(3 * PIECE + 5, 3 * PIECE + 40), (1, 50)])
    rows = [part.rows for part in case.batch.parts(None, torch.float32, pieces=True)]
    assert max(rows) == PIECE
    _compare(case, softcap=2.0)


def test_reference_is_softmax_over_the_visible_keys() -> None:
    """One row by hand: window 3, softcap, a sink, two query heads on one KV head."""
    case = make_case([(1, 5)], heads=(2, 1), widths=(4, 3))
    sinks = torch.tensor([0.5, -0.5])
    out = paged_attention_reference(
        case.q, case.k, case.v, case.batch, scale=0.5, window=3, softcap=1.5, sinks=sinks
    )
    slots = case.batch.slot_tables[0, 2:5].tolist()
    for head in range(2):
        scores = [float(case.q[0, head] @ case.k[slot, 0]) * 0.5 for slot in slots]
        weights = [math.exp(1.5 * math.tanh(score / 1.5)) for score in scores]
        whole = sum(weights) + math.exp(float(sinks[head]))
        mean = sum(w / whole * case.v[slot, 0] for w, slot in zip(weights, slots, strict=True))
        torch.testing.assert_close(out[0, head], mean)


def test_visible() -> None:
    assert visible(2, 4, None, torch.device("cpu")).tolist() == [
        [True, True, True, False],
        [True, True, True, True],
    ]
    assert visible(2, 4, 2, torch.device("cpu")).tolist() == [
        [False, True, True, False],
        [False, False, True, True],
    ]


def test_nan_of_one_sequence_stays_there() -> None:
    """One request's broken keys (P4) reach neither its neighbours nor the padding."""
    case = make_case([(1, 5), (1, 9), (3, 40), (3, 7)])
    case.k[case.batch.slot_tables[1, :9]] = math.nan
    case.v[case.batch.slot_tables[2, :40]] = math.nan
    out = paged_attention(case.q, case.k, case.v, case.batch, scale=1.0)
    broken = [
        bool(out[first:last].isnan().any()) for first, last in ((0, 1), (1, 2), (2, 5), (5, 8))
    ]
    assert broken == [False, True, True, False]


@pytest.mark.parametrize("window", [None, 7])
def test_tables_lie_anywhere(window: int | None) -> None:
    """Among others' and in any order: those of several lengths, of one, and of one sequence."""
    for shapes in ([(1, 5), (1, 9), (3, 40)], [(1, 9)] * 3, [(2, 9)], [(1, 70), (2, 70), (2, 70)]):
        _compare(make_case(shapes, scattered=True), window=window)


def test_wide_tables_are_not_copied() -> None:
    """One sequence of 200,000 tokens among short ones: copying all tables that far took 70 ms."""
    tables = torch.zeros((64, 200_000), dtype=torch.int64)
    lengths = [200_000, *range(10, 73)]
    seconds = []
    for _ in range(5):
        batch = AttentionBatch(list(range(65)), lengths, tables)
        begin = time.thread_time()
        parts = batch.parts(None, torch.float32)
        seconds.append(time.thread_time() - begin)
    assert sorted(part.keys for part in parts) == [72, 200_000]
    assert min(seconds) < 0.02


def test_workspace_is_reused_and_grows() -> None:
    workspace = Workspace()
    cache = torch.arange(40.0).view(10, 2, 2)
    first = workspace.gather("k", cache, torch.tensor([3, 1]))
    assert torch.equal(first, cache[[3, 1]])
    again = workspace.gather("k", cache, torch.tensor([2]))
    assert again.data_ptr() == first.data_ptr()
    grown = workspace.gather("k", cache, torch.arange(10))
    assert torch.equal(grown, cache)
    half = workspace.gather("k", cache.bfloat16(), torch.tensor([9]))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, cache[9:].bfloat16())


def test_bfloat16_is_close_to_the_reference() -> None:
    case = make_case([(1, 30), (1, 200), (40, 60)], dtype=torch.bfloat16, widths=(16, 16))
    arguments = (case.q, case.k, case.v, case.batch)
    fast = paged_attention(*arguments, scale=0.25)
    slow = paged_attention_reference(*arguments, scale=0.25)
    torch.testing.assert_close(fast.float(), slow.float(), rtol=2e-2, atol=2e-2)

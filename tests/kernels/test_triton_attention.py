"""The Triton kernels of paged attention against the reference, by Triton's interpreter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.kernels.attention import paged_attention_reference
from espalier.kernels.attention_plan import PlanRoom, SharedRun, plan_attention
from tests.attention_cases import Case, make_case
from tests.triton_interpreter import interpreted

pytest.importorskip("triton", reason="triton is not installed here")

from espalier.kernels import triton_attention

SMALL = triton_attention.Tiles(split=16, keys=16, few=16, many=16, merged=2)


def _run(case: Case, **options: object) -> torch.Tensor:
    arguments = (case.q, case.k, case.v, case.batch)
    with interpreted():
        return triton_attention.paged_attention(*arguments, scale=0.3, tiles=SMALL, **options)  # type: ignore[arg-type]


def _compare(case: Case, tolerance: float = 1e-5, **options: object) -> None:
    arguments = (case.q, case.k, case.v, case.batch)
    fast = _run(case, **options)
    slow = paged_attention_reference(*arguments, scale=0.3, **options)  # type: ignore[arg-type]
    assert fast.shape == slow.shape
    assert fast.dtype == slow.dtype
    torch.testing.assert_close(fast, slow, rtol=tolerance, atol=tolerance)


_shape = st.one_of(
    st.tuples(st.just(1), st.integers(1, 70)),
    st.tuples(st.integers(1, 6), st.integers(6, 50)),
    st.integers(1, 24).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(rows, rows + 20))),
)
_options = st.fixed_dictionaries(
    {
        "heads": st.sampled_from([(1, 1), (4, 2), (3, 3), (5, 1), (18, 1)]),
        "widths": st.sampled_from([(8, 8), (12, 4), (4, 20)]),
        "page": st.sampled_from([1, 4, 16]),
        "scattered": st.booleans(),
        "seed": st.integers(0, 99),
    }
)
_window = st.sampled_from([None, None, 1, 5, 20, 1000])
_softcap = st.sampled_from([None, 0.5, 30.0])
_dtype = st.sampled_from([torch.float32, torch.float32, torch.float16])


@given(
    shapes=st.lists(_shape, min_size=1, max_size=3),
    options=_options,
    dtype=_dtype,
    window=_window,
    softcap=_softcap,
    sinks=st.booleans(),
)
@settings(max_examples=25)
def test_equals_the_reference(
    shapes: list[tuple[int, int]],
    options: dict[str, object],
    dtype: torch.dtype,
    window: int | None,
    softcap: float | None,
    sinks: bool,
) -> None:
    case = make_case(shapes, dtype=dtype, **options)  # type: ignore[arg-type]
    drawn = torch.randn(case.q.shape[1]) if sinks else None
    tolerance = 1e-5 if dtype == torch.float32 else 4e-3
    _compare(case, tolerance, window=window, softcap=softcap, sinks=drawn)


@given(
    branches=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 30)), min_size=2, max_size=5),
    prefix=st.integers(1, 50),
    deeper=st.integers(0, 20),
    window=_window,
    sinks=st.booleans(),
    heads=st.sampled_from([(4, 2), (5, 1)]),
)
@settings(max_examples=12)
def test_shared_prefixes(
    branches: list[tuple[int, int]],
    prefix: int,
    deeper: int,
    window: int | None,
    sinks: bool,
    heads: tuple[int, int],
) -> None:
    """Branches of one prefix, the last two of them of a longer one, beside a stranger."""
    last = len(branches) - 1
    shapes = [(1, 20)]
    for b, (rows, suffix) in enumerate(branches):
        more = deeper if b >= last - 1 else 0
        shapes.append((rows, prefix + more + max(suffix, rows)))
    runs = [
        SharedRun(tuple(range(1, len(shapes))), 0, prefix),
        SharedRun((last, last + 1), prefix, prefix + deeper),
    ]
    case = make_case(shapes, heads=heads, shared=runs, scattered=True)
    drawn = torch.randn(heads[0]) if sinks else None
    _compare(case, window=window, sinks=drawn)


def test_shared_or_not_to_the_last_bit() -> None:
    """The pieces are the same, and so is what they are merged of."""
    runs = [SharedRun((0, 1, 2), 0, 40)]
    case = make_case([(1, 50), (1, 41), (2, 60)], shared=runs)
    together = _run(case)
    case.batch.shared = ()
    case.batch.device_plans.clear()
    assert torch.equal(_run(case), together)
    alone = make_case([(1, 50), (1, 41), (2, 60)], shared=runs)
    batch = alone.batch
    batch.query_start, batch.seq_len, batch.table_of, batch.shared = [0, 1], [41], [1], ()
    alone.q = alone.q[1:2]
    assert torch.equal(_run(alone), together[1:2])


def test_nan_of_one_sequence_stays_there() -> None:
    """One request's broken keys (P4) reach neither its neighbours nor the padding."""
    case = make_case([(1, 5), (1, 29), (3, 40), (3, 7), (1, 33)])
    case.k[case.batch.slot_tables[1, :9]] = math.nan
    case.v[case.batch.slot_tables[2, :40]] = math.nan
    case.v[case.batch.slot_tables[4, 20]] = math.nan
    out = _run(case)
    broken = [bool(part.isnan().any()) for part in out.split([1, 1, 3, 3, 1])]
    assert broken == [False, True, True, False, True]


def test_strided_queries() -> None:
    """Queries as the first heads of a fused projection."""
    case = make_case([(1, 9), (4, 20)])
    wide = torch.randn(5, 7, 8)
    wide[:, :4] = case.q
    case.q = wide[:, :4]
    _compare(case)


@pytest.mark.parametrize("programs", [1, 2, 50])
def test_more_room_than_the_plan_needs_and_other_numbers_of_programs(programs: int) -> None:
    """As a CUDA graph runs it: the launch is the same whatever the plan; what lies past it is
    poison."""
    case = make_case([(1, 70), (1, 3), (1, 33)], shared=[SharedRun((0, 2), 0, 32)], scattered=True)
    wanted = _run(case)
    tiles, batch, group, packed = SMALL, case.batch, 2, SMALL.many
    plan = plan_attention(
        batch.query_start, batch.seq_len, batch.table_of,
        tile=packed // group, split=tiles.split, shared=batch.shared,
    )  # fmt: skip
    room = PlanRoom(items=90, listed=30, rows=3, merged=3, partials=40)
    assert room.holds(plan)
    assert not room._replace(items=len(plan.items) - 1).holds(plan)
    assert not room._replace(partials=plan.partials - 1).holds(plan)
    whole = np.full(room.size, 2**31 - 1, dtype=np.int32)
    used = room.pack(plan, whole)
    assert used < room.size
    assert (whole[used:] == 2**31 - 1).all()
    there = triton_attention.DevicePlan.of(
        torch.from_numpy(whole), room, packed, programs, tiles.split
    )
    batch.device_plans = {triton_attention.plan_key(group, None, tiles): there}
    assert torch.equal(_run(case), wanted)


def test_parts_of_a_plan_are_aligned() -> None:
    """A kernel is compiled anew for an address that is no multiple of 16 bytes."""
    for rows in range(1, 9):
        room = PlanRoom(items=3, listed=rows, rows=rows, merged=rows, partials=1)
        assert all(start % 4 == 0 for start, _ in room.sections())


def test_pieces_are_longer_where_partial_results_would_be_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = make_case([(1, 300), (1, 290), (2, 150)])
    wanted = _run(case)
    case.batch.device_plans.clear()
    monkeypatch.setattr(triton_attention, "MOST_PARTIAL", 12 * 4 * 8 * 4)
    torch.testing.assert_close(_run(case), wanted, rtol=1e-5, atol=1e-5)
    [plan] = case.batch.device_plans.values()
    assert plan.split == 128
    assert plan.room.partials <= 12

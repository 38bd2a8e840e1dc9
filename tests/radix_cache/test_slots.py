from __future__ import annotations

import time
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from espalier.errors import InvalidRequestError, InvariantError
from espalier.radix_cache import SlotAllocator


@pytest.mark.parametrize("page", [1, 4, 16])
@given(data=st.data())
@settings(max_examples=40)
def test_against_a_set(page: int, data: st.DataObject) -> None:
    pool = SlotAllocator(12 * page, page)
    free = set(range(12 * page))
    held: list[np.ndarray] = []
    for _ in range(data.draw(st.integers(1, 25))):
        if held and data.draw(st.booleans()):
            slots = held.pop(data.draw(st.integers(0, len(held) - 1)))
            cut = data.draw(st.integers(0, len(slots) // page)) * page
            for part in (slots[cut:], slots[:cut]):
                pool.free(part)
            free |= set(slots.tolist())
        else:
            count = data.draw(st.integers(0, 6)) * page
            got = pool.alloc(count)
            if count > len(free):
                assert got is None
                continue
            assert got is not None
            assert got.dtype == np.int64
            assert set(got.tolist()) <= free
            assert len(set(got.tolist())) == count
            for run in got.reshape(-1, page).tolist():
                assert run == list(range(run[0], run[0] + page))
                assert run[0] % page == 0
            free -= set(got.tolist())
            held.append(got)
        assert pool.available == len(free)
        assert set(pool.handed_out().tolist()) == set(range(12 * page)) - free
        pool.check_invariants()


def test_what_was_given_is_not_overwritten_by_later_frees() -> None:
    pool = SlotAllocator(4)
    first = pool.alloc(2)
    assert first is not None
    pool.free(first)
    again = pool.alloc(1)
    other = pool.alloc(1)
    assert again is not None
    assert other is not None
    before = again.tolist()
    pool.free(other)
    assert again.tolist() == before


@pytest.mark.parametrize(("capacity", "page"), [(0, 1), (-4, 1), (10, 4), (8, 0), (3, 4)])
def test_sizes_that_cannot_be(capacity: int, page: int) -> None:
    with pytest.raises(InvalidRequestError, match="page_size"):
        SlotAllocator(capacity, page)


@pytest.mark.parametrize("count", [-4, 3])
def test_alloc_takes_whole_pages(count: int) -> None:
    with pytest.raises(InvalidRequestError, match="multiple of the page size 4"):
        SlotAllocator(8, 4).alloc(count)


@pytest.mark.parametrize(
    ("page", "slots", "why"),
    [
        (1, [9], "never handed out"),
        (1, [-1], "never handed out"),
        (1, [1 << 40], "never handed out"),
        (1, [0, 3, 0], "twice in one call"),
        (1, [0, 7], "already free"),
        (4, [0, 1, 2], "not whole pages"),
        (4, [0, 1, 3, 2], "not whole pages"),
        (4, [2, 3, 4, 5], "not whole pages"),
        (4, [0, 1, 2, 3, 0, 1, 2, 3], "twice in one call"),
    ],
)
def test_a_bad_free_is_caught_and_changes_nothing(page: int, slots: list[int], why: str) -> None:
    pool = SlotAllocator(16, page)
    pool.alloc(8)
    if page == 1:
        pool.free(np.array([7]))
    before = pool.available
    with pytest.raises(InvariantError, match=f"^A1: .*{why}"):
        pool.free(np.array(slots))
    assert pool.available == before
    pool.check_invariants()
    pool.free(np.arange(4))
    pool.check_invariants()


def test_a_double_free_is_caught() -> None:
    pool = SlotAllocator(64)
    slots = pool.alloc(32)
    assert slots is not None
    pool.free(slots[:8])
    with pytest.raises(InvariantError, match=r"^A1: freed slots that are already free, got 0, 1"):
        pool.free(slots)
    pool.free(slots[8:])
    assert pool.available == 64


def _mark_again(pool: SlotAllocator) -> None:
    pool._marks[pool._stack[0]] = 1


def _stack_twice(pool: SlotAllocator) -> None:
    pool._stack[1] = pool._stack[0]


def _beyond(pool: SlotAllocator) -> None:
    pool._marks[-1] = 1


def _miscount(pool: SlotAllocator) -> None:
    pool.available += 1


@pytest.mark.parametrize(
    ("name", "damage"),
    [("A1", _mark_again), ("A1", _stack_twice), ("A1", _beyond), ("A2", _miscount)],
)
def test_broken_invariants_are_named(name: str, damage: Callable[[SlotAllocator], None]) -> None:
    pool = SlotAllocator(16)
    slots = pool.alloc(8)
    assert slots is not None
    pool.free(slots[:3])
    pool.check_invariants()
    damage(pool)
    with pytest.raises(InvariantError, match=f"^{name}:"):
        pool.check_invariants()


def test_a_large_pool_costs_what_is_touched() -> None:
    """Ten million slots: far less than touching each would take (about 0.1 s)."""
    begin = time.process_time()
    pool = SlotAllocator(10_000_000)
    for _ in range(20):
        slots = pool.alloc(512)
        assert slots is not None
        pool.free(slots)
    assert time.process_time() - begin < 0.05

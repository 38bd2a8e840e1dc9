"""Entries that stopped counting leave, and none that counts is lost or comes out of order."""

from __future__ import annotations

import random

import pytest

from espalier.runtime.lazy_heap import LazyHeap


@pytest.mark.parametrize("seed", range(5))
def test_against_a_set(seed: int) -> None:
    rng = random.Random(seed)
    live: dict[int, int] = {}
    heap: LazyHeap[tuple[int, int]] = LazyHeap(lambda entry: live.get(entry[1]) == entry[0])
    for number in range(4000):
        if rng.random() < 0.55 or not live:
            live[number] = rng.randrange(1000)
            heap.push((live[number], number))
            heap.sweep(len(live))
        elif rng.random() < 0.5:
            first = heap.first()
            assert first is not None
            del live[first[1]]
        else:
            del live[rng.choice(list(live))]
            heap.sweep(len(live))
        expected = min(((at, key) for key, at in live.items()), default=None)
        assert heap.first() == expected
    heap.clear()
    assert heap.first() is None
    assert len(heap) == 0


def test_what_counts_no_more_leaves_although_it_is_never_first() -> None:
    live = {0: -1}
    heap: LazyHeap[tuple[int, int]] = LazyHeap(lambda entry: live.get(entry[1]) == entry[0])
    heap.push((-1, 0))
    for number in range(1, 10_000):
        heap.push((number, number))
        heap.sweep(1)
        assert len(heap) < 200
    assert heap.first() == (-1, 0)


def test_no_call_looks_at_more_than_a_few() -> None:
    """A hundred thousand that stop counting all at once."""
    looked = 0

    def counts(entry: tuple[int, int]) -> bool:
        nonlocal looked
        looked += 1
        return entry[0] < 0

    heap: LazyHeap[tuple[int, int]] = LazyHeap(counts)
    heap.push((-1, 0))
    for number in range(100_000):
        heap.push((number, number))
    most = 0
    for _ in range(20_000):
        looked = 0
        heap.sweep(1)
        assert heap.first() == (-1, 0)
        most = max(most, looked)
    assert most <= 16
    assert len(heap) == 1

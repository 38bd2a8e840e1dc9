from __future__ import annotations

import numpy as np
import pytest

from espalier.radix_cache import Node, RadixCache, SlotAllocator, eviction
from espalier.radix_cache.structure import Structure
from tests.radix_cache.building import cache_of, cached, key, put


def test_the_least_recently_used_goes_first() -> None:
    cache = cache_of()
    for text in ("aa", "bb", "cc"):
        put(cache, text)
    cache.match(key("aa"))
    cache.peek(key("bb"))
    cache.explain(key("bb"))
    cache.watch(key("bb"), "", None)
    put(cache, "cc")
    assert cache.evict(2) == 2
    assert cached(cache) == ["aa", "cc"]
    cache.match(key("a"))  # a use of the upper half only
    cache.evict(2)
    assert cached(cache) == ["a", "c"]


def test_an_insertion_that_finds_all_is_a_use() -> None:
    cache = cache_of()
    put(cache, "aa")
    put(cache, "bb")
    put(cache, "aa")
    cache.evict(2)
    assert cached(cache) == ["aa"]


def test_unlocking_is_a_use() -> None:
    cache = cache_of()
    first = put(cache, "aa").node
    cache.lock(first)
    put(cache, "bb")
    cache.unlock(first)
    cache.evict(2)
    assert cached(cache) == ["aa"]


def test_a_parent_follows_with_its_own_age() -> None:
    cache = cache_of()
    put(cache, "ab")
    put(cache, "abcd")
    put(cache, "xy")
    cache.match(key("ab"))  # newer than xy; its child is the oldest
    assert cache.evict(3) == 3
    assert cached(cache) == ["ab", "x"]


def test_a_leaf_is_trimmed_from_its_tail_in_whole_pages() -> None:
    cache = cache_of(32, 4)
    node = put(cache, "aaaabbbbccccdddd").node
    (before,) = cache.walk()
    assert cache.evict(5) == 8
    assert cached(cache) == ["aaaabbbb"]
    (after,) = cache.walk()
    assert after.last_use == before.last_use > 0  # what is left keeps its age
    assert not node.alive  # a handle never means less than it did
    cache.check_invariants()
    assert cache.evict(100) == 8
    assert cache.evict(1) == 0
    assert cache.evict(0) == 0
    assert cache.allocator.available == 32


@pytest.mark.parametrize("page", [1, 16])
def test_trimming_a_long_leaf_bit_by_bit_copies_short_runs(page: int) -> None:
    length = 40 * 1024
    pool = SlotAllocator(length, page)
    cache = RadixCache(pool)
    tokens = np.arange(length)
    slots = pool.alloc(length)
    assert slots is not None
    cache.insert(tokens, slots)
    copied = 0
    split = Structure.split

    def counting(self: Structure, node: Node, at: int) -> Node:
        nonlocal copied
        copied += node.size
        return split(self, node, at)

    Structure.split = counting  # type: ignore[method-assign]
    try:
        for _ in range(32):
            assert cache.evict(256) == 256
    finally:
        Structure.split = split  # type: ignore[method-assign]
    assert copied < 3 * length + 32 * eviction._TRIM_BLOCK
    assert cache.peek(tokens) == length - 32 * 256
    cache.check_invariants()


def test_eviction_looks_at_what_it_evicts_and_no_more() -> None:
    """Counted, not timed: nodes taken from the list per eviction, among a thousand others."""
    cache = cache_of(4096)
    for first in range(1000):
        slots = cache.allocator.alloc(2)
        assert slots is not None
        cache.insert(np.array([first, 7]), slots)
    looked = 0
    oldest = cache._structure.ages.oldest

    def counting() -> Node | None:
        nonlocal looked
        looked += 1
        return oldest()

    cache._structure.ages.oldest = counting  # type: ignore[method-assign]
    assert cache.evict(20) == 20
    assert looked == 10


def test_locked_and_pending_never_go() -> None:
    cache = cache_of()
    cache.lock(put(cache, "ab").node)
    put(cache, "abcd")
    put(cache, "xy", pending=1)
    put(cache, "xyzz")
    assert cache.evictable == 4
    assert cache.evict(100) == 4
    assert cached(cache) == ["ab", "xy"]
    assert cache.evict(100) == 0

from __future__ import annotations

from collections import Counter

import numpy as np

from espalier.radix_cache import Watcher
from espalier.radix_cache.watch import WatchIndex
from tests.radix_cache.building import cache_of, key, put, told


def test_depth_follows_insertion_and_eviction() -> None:
    cache = cache_of()
    watcher = cache.watch(key("abcdef"), "", "me")
    assert (watcher.depth, watcher.owner, watcher.active) == (0, "me", True)
    put(cache, "abcd")
    assert (watcher.depth, told(cache)) == (4, [watcher])
    node = put(cache, "abcdefgh").node  # beyond the key's end
    assert watcher.depth == 6
    cache.match(key("abcde"))
    assert watcher.depth == 6
    assert told(cache) == [watcher]
    cache.evict(3)
    assert watcher.depth == 5
    assert not node.alive
    cache.check_invariants()
    cache.reset()
    assert watcher.depth == 0
    assert cache.stats().namespaces == 1  # kept by who waits for it
    cache.unwatch(watcher)
    assert cache.stats().namespaces == 0


def test_watching_splits_nothing() -> None:
    cache = cache_of()
    put(cache, "abcdef")
    watcher = cache.watch(key("abxx"), "", None)
    assert (watcher.depth, cache.stats().nodes) == (2, 1)
    assert repr(watcher) == "<Watcher depth=2 of 4 owner=None>"
    put(cache, "abxy")  # splits, then grows where the watcher waits
    assert watcher.depth == 3
    cache.check_invariants()


def test_pages() -> None:
    cache = cache_of(page=4)
    short, tail, other = (
        cache.watch(key(text), "", None) for text in ("aaa", "aaaabbbbcc", "aaaabbbx")
    )
    put(cache, "aaaabbbbcccc")
    assert (short.depth, tail.depth, other.depth) == (0, 8, 4)
    assert set(told(cache)) == {tail, other}


def test_discarding_drops_watchers_to_the_survivor() -> None:
    cache = cache_of()
    put(cache, "ab")
    put(cache, "abcd", pending=1)
    put(cache, "abcdef")
    watchers = [cache.watch(key(text), "", None) for text in ("abcdef", "abcx", "ab", "zz")]
    for run in cache.discard(1):
        cache.allocator.free(run.slots)
    assert [watcher.depth for watcher in watchers] == [2, 2, 2, 0]
    assert {id(moved) for moved in told(cache)} == {id(watcher) for watcher in watchers[:2]}
    cache.check_invariants()


def test_discarding_under_a_root_keeps_it_for_its_watchers() -> None:
    cache = cache_of()
    watcher = cache.watch(key("ab"), "n", None)
    put(cache, "ab", "n", pending=1)
    for run in cache.discard(1):
        cache.allocator.free(run.slots)
    cache.check_invariants()
    put(cache, "ab", "n")
    assert watcher.depth == 2


def test_only_those_who_wait_for_it_are_touched() -> None:
    """Counted: hanging again happens once per watcher whose depth changed, however many wait."""
    cache = cache_of(4096)
    rng = np.random.default_rng(0)
    others = [cache.watch(rng.integers(1000, 1 << 40, 4), "", None) for _ in range(500)]
    mine = cache.watch(key("abcd"), "", None)
    hangs: Counter[int] = Counter()
    hang = WatchIndex.hang

    def counting(self: WatchIndex, watcher: Watcher, *rest: object) -> None:
        hangs[id(watcher)] += 1
        hang(self, watcher, *rest)  # type: ignore[arg-type]

    WatchIndex.hang = counting  # type: ignore[method-assign]
    try:
        put(cache, "abcdefgh")
        cache.match(key("ab"))
        cache.match(key("abc"))
        put(cache, "abxx")
        assert told(cache) == [mine]
        assert hangs == {id(mine): 1}
        cache.reset()
        assert told(cache) == [mine]
    finally:
        WatchIndex.hang = hang  # type: ignore[method-assign]
    assert set(hangs) == {id(mine)}
    assert all(watcher.depth == 0 for watcher in [mine, *others])
    cache.check_invariants()


def test_unwatched_is_left_alone() -> None:
    cache = cache_of()
    watcher, unread = (cache.watch(key("ab"), "", None) for _ in range(2))
    put(cache, "ab")
    assert watcher.depth == 2
    for _ in range(2):
        cache.unwatch(watcher)
        cache.unwatch(unread)
    cache.reset()
    assert (watcher.depth, watcher.active) == (2, False)
    assert (unread.depth, unread.active) == (0, False)  # as it was last seen
    assert told(cache) == []

from __future__ import annotations

import numpy as np
import pytest

from espalier.errors import InvalidRequestError, InvariantError
from espalier.radix_cache import RadixCache, SlotAllocator
from tests.radix_cache.building import cache_of, cached, key, put


def test_match_splits_where_it_ends_and_handles_keep_their_depth() -> None:
    cache = cache_of()
    long = put(cache, "abcdefgh").node
    cache.lock(long)
    found = cache.match(key("abcxyz"))
    assert (found.length, found.node.end, found.slots.tolist()) == (3, 3, [0, 1, 2])
    assert (long.start, long.end, long.locks) == (3, 8, 1)
    assert long.parent is found.node
    assert cache.peek(key("abcdef")) == 6
    assert cache.stats().nodes == 2  # peek did not split
    cache.check_invariants()


def test_match_in_whole_pages() -> None:
    cache = cache_of(page=4)
    put(cache, "aaaabbbbcccc")
    assert cache.match(key("aaaabbbx")).length == 4
    assert cache.match(key("aaaabbbbccc")).length == 8
    assert cache.match(key("aaa")).length == 0
    assert cache.match(key("")).node.end == 0


def test_match_after_a_locked_node() -> None:
    cache = cache_of()
    top = put(cache, "abcd").node
    put(cache, "abcdefgh", after=top, pending=3)
    found = cache.match(key("abcdefxx"), after=top)
    assert (found.length, found.slots.tolist(), found.pending) == (6, [4, 5], 2)
    nothing = cache.match(key("abcdxx"), after=top)
    assert (nothing.length, nothing.node, len(nothing.slots)) == (4, top, 0)
    with pytest.raises(InvalidRequestError, match="on the path of 3 tokens"):
        cache.match(key("abc"), after=top)
    with pytest.raises(InvalidRequestError, match="namespace 'other'"):
        cache.match(key("abcdef"), "other", after=top)


def test_a_matchs_slots_are_the_callers_own() -> None:
    cache = cache_of()
    put(cache, "abcd")
    found = cache.match(key("abcd"))
    found.slots[:] = -5
    assert cache.match(key("abcd")).slots.tolist() == [0, 1, 2, 3]


def test_the_trees_slots_win_and_duplicates_go_back() -> None:
    cache = cache_of()
    put(cache, "abcd")
    slots = cache.allocator.alloc(6)
    assert slots is not None
    done = cache.insert(key("abcdef"), slots)
    assert done.existing.tolist() == [0, 1, 2, 3]
    assert done.duplicates.tolist() == [4, 5, 6, 7]
    assert cache.match(key("abcdef")).slots.tolist() == [0, 1, 2, 3, 8, 9]
    cache.check_invariants(running=[done.duplicates])
    cache.allocator.free(done.duplicates)
    cache.check_invariants()
    assert cache.stats().duplicated == 4


def test_the_trees_own_slots_are_no_duplicates() -> None:
    """A request that inserts prefix and suffix together must not be told to free the prefix."""
    cache = cache_of()
    put(cache, "abcd")
    own = cache.match(key("abcd")).slots
    fresh = cache.allocator.alloc(2)
    assert fresh is not None
    done = cache.insert(key("abcdef"), np.concatenate((own, fresh)))
    assert done.existing.tolist() == own.tolist()
    assert len(done.duplicates) == 0


@pytest.mark.parametrize(("tokens", "slots"), [(6, 6), (8, 7), (4, 8), (8, 0)])
def test_insert_takes_whole_pages_with_a_slot_each(tokens: int, slots: int) -> None:
    cache = cache_of(page=4)
    with pytest.raises(InvalidRequestError, match="whole pages of 4 tokens"):
        cache.insert(np.arange(tokens), np.arange(slots))
    cache.check_invariants()


def test_namespaces_never_meet_and_go_when_empty() -> None:
    cache = cache_of()
    put(cache, "abcd", "one")
    assert cache.peek(key("abcd"), "two") == cache.peek(key("abcd")) == 0
    assert cache.match(key("abcd"), "two").length == 0
    assert cache.stats().namespaces == 1  # asking makes none
    put(cache, "abxx", "two")
    cache.check_invariants()
    assert cached(cache, "one") == ["abcd"]
    assert cache.evict(4) == 4
    assert cache.stats().namespaces == 1
    assert cached(cache, "two") == ["abxx"]


def test_a_locked_root_stands_for_its_namespace() -> None:
    cache = cache_of()
    first, second = cache.match(key("ab"), "x").node, cache.match(key("ab"), "x").node
    cache.lock(first)
    cache.lock(second)
    assert cache.stats().namespaces == 1
    node = cache.insert(key("ab"), cache.allocator.alloc(2), "x", after=first).node  # type: ignore[arg-type]
    assert cache.match(key("ab"), "x", after=second).node is node
    cache.check_invariants()
    assert cache.evict(2) == 2
    cache.unlock(first)
    assert cache.stats().namespaces == 1
    cache.unlock(second)
    assert cache.stats().namespaces == 0
    with pytest.raises(InvariantError, match=r"^I3: unlocked"):
        cache.unlock(first)


def test_locks_are_counted_per_handle() -> None:
    cache = cache_of()
    upper = put(cache, "abcd").node
    lower = put(cache, "abcdefgh").node
    cache.lock(lower)
    assert cache.evictable == 0
    with pytest.raises(InvariantError, match=r"^I3: unlocked a node that is not locked"):
        cache.unlock(upper)
    cache.lock(upper)
    cache.unlock(lower)
    assert cache.evictable == 4
    assert cache.evict(8) == 4
    assert not lower.alive
    with pytest.raises(InvariantError, match="left the tree"):
        cache.lock(lower)
    with pytest.raises(InvariantError, match="left the tree"):
        cache.match(key("abcdefghi"), after=lower)
    cache.unlock(upper)
    assert cache.evictable == 4


def test_pending_nodes_stay_until_their_step_retires() -> None:
    cache = cache_of()
    node = put(cache, "abcd", pending=1).node
    put(cache, "abcdef", pending=2)
    assert cache.match(key("abcdef")).pending == 6
    middle = cache.match(key("ab")).node
    assert (middle.pending, node.pending) == (1, 1)
    assert (cache.evictable, cache.evict(9)) == (0, 0)
    assert cache.commit(1) == 2
    assert cache.match(key("abcdef")).pending == 2
    assert cache.stats().pending == 2
    assert cache.evictable == 0  # they stand above a pending one
    cache.commit(2)
    assert cache.evictable == 6
    cache.check_invariants()


def test_discard_takes_failed_steps_and_what_hangs_below() -> None:
    cache = cache_of()
    kept = put(cache, "ab", pending=1).node
    failed = put(cache, "abcd", after=kept, pending=2).node
    below = put(cache, "abcdef", after=failed).node
    for node in (kept, failed, below):
        cache.lock(node)
    removed = cache.discard(2)
    assert [(run.node, run.start, run.slots.tolist()) for run in removed] == [
        (failed, 2, [2, 3]),
        (below, 4, [4, 5]),
    ]
    assert {run.survivor for run in removed} == {kept}
    cache.check_invariants(running=[run.slots for run in removed])
    for run in removed:
        cache.allocator.free(run.slots)
    assert (failed.alive, below.alive, kept.alive) == (False, False, True)
    for node in (kept, failed, below):
        cache.unlock(node)
        with pytest.raises(InvariantError, match=r"^I3"):
            cache.unlock(node)
    cache.commit(1)
    assert cache.evictable == 2
    assert cache.stats().discarded == 4
    cache.check_invariants()


def test_discard_names_a_survivor_that_lives() -> None:
    """A split makes the upper half of a pending node younger in its step than the lower."""
    cache = cache_of()
    put(cache, "abcd", pending=5)
    cache.match(key("ab"))
    removed = cache.discard(5)
    assert [run.start for run in removed] == [0, 2]
    assert all(run.survivor.alive for run in removed)
    assert cache.stats().namespaces == 0


def test_reset_drops_what_nobody_uses() -> None:
    cache = cache_of()
    cache.lock(put(cache, "abcd").node)
    put(cache, "xyz", "other")
    put(cache, "abzz", pending=4)
    cache.pin(key("xyz"), "other")
    assert cache.reset() == 3
    assert (cached(cache), cached(cache, "other")) == (["abcd", "abzz"], [])
    assert cache.stats().evicted == 3
    cache.check_invariants()


def test_walk_shows_the_tree() -> None:
    cache = cache_of()
    put(cache, "abcd")
    node = put(cache, "abxy").node
    cache.lock(node)
    cache.pin(key("abcd"))
    put(cache, "q", "n", pending=2)
    seen = [
        (view.namespace, view.level, view.start, view.end, view.children, view.locks)
        for view in cache.walk()
    ]
    assert seen == [
        ("", 0, 0, 2, 2, 0),
        ("", 1, 2, 4, 0, 0),
        ("", 1, 2, 4, 0, 1),
        ("n", 0, 0, 1, 0, 0),
    ]
    assert [view.held for view in cache.walk()] == [True, False, True, True]
    assert [view.pinned for view in cache.walk()] == [True, True, False, False]
    assert [view.pending for view in cache.walk()] == [None, None, None, 2]


def test_stats() -> None:
    cache = cache_of(32, 4)
    cache.lock(put(cache, "aaaabbbb").node)
    put(cache, "aaaacccc", pending=1)
    cache.watch(key("aaaa"), "", None)
    stats = cache.stats()
    assert (stats.capacity, stats.available, stats.tokens, stats.nodes) == (32, 20, 12, 3)
    assert (stats.locks, stats.pending, stats.watchers, stats.evictable) == (1, 4, 1, 0)


def test_options_that_cannot_be() -> None:
    pool = SlotAllocator(4)
    with pytest.raises(InvalidRequestError, match="expected one of lru, density, got 'lfu'"):
        RadixCache(pool, policy="lfu")
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(InvalidRequestError, match="share"):
            RadixCache(pool, pin_share=share)


def test_handles_say_what_they_are() -> None:
    cache = cache_of()
    node = put(cache, "ab", pending=7).node
    assert repr(node) == "<Node '' 0..2 alive holds=1 locks=0 pins=0 pending=7>"
    assert node.slots.tolist() == [0, 1]
    assert node.key.tolist() == key("ab").tolist()
    cache.discard(7)
    assert "dead" in repr(node)
    assert "root" in repr(cache.match(key("zz")).node)

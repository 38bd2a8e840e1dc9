"""Eviction by what was learned of uses: loops, drifting sets, headers among one-time tails."""

from __future__ import annotations

import random

import numpy as np
import pytest

from espalier.errors import InvariantError
from espalier.radix_cache import RadixCache, SlotAllocator, reuse as reuse_module
from espalier.radix_cache.node import Node
from espalier.radix_cache.watch import Spots
from tests.radix_cache.building import cache_of, cached, key, put


def _serve(cache: RadixCache, tokens: np.ndarray) -> int:
    """As the scheduler does: match, lock, make room, insert, unlock. Returns tokens not cached."""
    match = cache.match(tokens)
    cache.lock(match.node)
    missing = len(tokens) - match.length
    cache.evict(missing - cache.allocator.available)
    slots = cache.allocator.alloc(missing)
    assert slots is not None
    node = cache.insert(tokens, slots, after=match.node).node
    cache.lock(node)
    cache.unlock(match.node)
    cache.unlock(node)
    return missing


def _missed(policy: str, capacity: int, prompts: list[np.ndarray]) -> int:
    cache = cache_of(capacity, policy=policy)
    missed = sum(_serve(cache, prompt) for prompt in prompts)
    cache.check_invariants()
    return missed


def _prompt(number: int, length: int = 40) -> np.ndarray:
    return np.arange(length) + 1000 * number


def test_a_loop_longer_than_the_cache_hits() -> None:
    """LRU evicts each of twenty runs right before its turn; ten of them fit."""
    loop = [_prompt(turn % 20) for turn in range(400)]
    assert _missed("lru", 400, loop) == 400 * 40
    assert _missed("density", 400, loop) < 0.65 * 400 * 40  # Belady: 0.5 and the first turn


def test_a_set_that_drifts_is_followed() -> None:
    rng = random.Random(0)
    drift = [_prompt(turn // 20 + rng.randrange(6)) for turn in range(800)]
    assert _missed("density", 320, drift) <= 1.1 * _missed("lru", 320, drift)


def test_a_loop_that_ends_is_forgotten() -> None:
    """After a long loop, a working set that fits: all of it stays soon."""
    loop = [_prompt(turn % 20) for turn in range(400)]
    after = [_prompt(100 + turn % 9) for turn in range(300)]
    extra = _missed("density", 400, loop + after) - _missed("density", 400, loop)
    assert extra < 5 * 9 * 40


def test_headers_outlive_tails_that_nobody_asks_for_again() -> None:
    rng = random.Random(1)
    prompts = [
        np.concatenate((_prompt(rng.randrange(12), 60), 50_000 + np.arange(20) + 20 * number))
        for number in range(300)
    ]
    tails = 300 * 20
    assert _missed("lru", 900, prompts) > 1.5 * (tails + 12 * 60)
    assert _missed("density", 900, prompts) < 1.2 * (tails + 12 * 60)


def test_what_a_waiting_request_wants_goes_last() -> None:
    cache = cache_of(policy="density")
    for text in ("aa", "bb", "cc"):
        put(cache, text)
    watcher = cache.watch(key("aab"), "", None)
    assert cache.evict(2) == 2
    assert cached(cache) == ["aa", "cc"]
    assert cache.evict(4, spare=True) == 2
    assert cached(cache) == ["aa"]
    cache.unwatch(watcher)
    assert cache.evict(2, spare=True) == 2


def test_the_one_that_nobody_wants_is_found_among_a_thousand() -> None:
    """However few of the leaves are looked at."""
    cache = cache_of(4000, policy="density")
    for number in range(1000):
        put(cache, f"{chr(1000 + number)}a")
        if number != 700:
            cache.watch(key(f"{chr(1000 + number)}ab"), "", None)
    assert cache.evict(2, spare=True) == 2
    assert chr(1700) + "a" not in cached(cache)
    assert cache.evict(2, spare=True) == 0
    cache.check_invariants()


def test_who_is_wanted_follows_splits_growth_and_eviction() -> None:
    cache = cache_of(policy="density")
    put(cache, "aaaa")
    put(cache, "bbbb")
    watchers = [cache.watch(key("aab"), "", None), cache.watch(key("bbbbbb"), "", None)]
    cache.check_invariants()
    put(cache, "aabc")  # nobody wants the lower half of what it splits
    put(cache, "bbbbbb")
    cache.check_invariants()
    assert cache.evict(2, spare=True) == 2
    assert cached(cache) == ["aabc", "bbbbbb"]
    assert cache.evict(8, spare=True) == 0
    for watcher in watchers:
        cache.unwatch(watcher)
    cache.check_invariants()
    assert cache.evict(20, spare=True) == 10


def test_what_was_known_to_be_wanted_teaches_nothing() -> None:
    cache = cache_of(policy="density")
    reuse = cache._structure.reuse
    assert reuse is not None
    first, second = (cache.watch(key("ab" + tail), "", None) for tail in "cd")
    put(cache, "ab", asked=first.asked)
    for watcher in (first, second):
        node = cache.match(key("ab")).node
        cache.lock(node, watcher.asked)
        cache.unlock(node)
    assert node.uses == 1  # the first brought it, at the same moment
    put(cache, "xy")
    cache.lock(node, second.asked)
    cache.unlock(node)
    assert (node.uses, reuse._hits.sum()) == (2, 0)
    put(cache, "z")
    cache.lock(node)
    cache.unlock(node)
    assert reuse._hits.sum() == 2


def test_a_run_that_comes_back_does_not_lend_its_uses_to_what_follows_it() -> None:
    cache = cache_of(policy="density")
    put(cache, "abcd")
    cache.evict(4)
    tail = put(cache, "abcdef").node
    assert (tail.size, tail.uses) == (2, 1)
    assert tail.parent is not None
    assert (tail.parent.size, tail.parent.uses) == (4, 2)
    cache.check_invariants()


def test_a_run_that_went_bit_by_bit_comes_back_as_one() -> None:
    cache = cache_of(policy="density")
    put(cache, "abcdefgh")
    put(cache, "xy")
    for _ in range(8):
        assert cache.evict(1) == 1
    assert cached(cache) == ["xy"]
    tail = put(cache, "abcdefghij").node
    assert (tail.size, tail.uses) == (2, 1)
    assert tail.parent is not None
    assert (tail.parent.size, tail.parent.uses) == (8, 2)


def test_pieces_that_went_apart_make_a_bounded_number_of_nodes() -> None:
    """The run is used again before each of them goes."""
    cache = cache_of(256, policy="density")
    put(cache, "a" * 40)
    for number in range(20):
        other = put(cache, chr(1000 + number)).node
        cache.lock(other)
        node = cache.match(key("a" * 40)).node
        cache.lock(node)
        cache.unlock(node)
        assert cache.evict(1) == 1
    assert cache.peek(key("a" * 40)) == 20
    before = cache.stats().nodes
    put(cache, "a" * 40)
    assert 2 <= cache.stats().nodes - before <= 9
    cache.check_invariants()


def test_spared_is_what_was_used_more_often_than_what_comes_free_soon() -> None:
    cache = cache_of(policy="density")
    waiting = [cache.watch(key(text), "", None) for text in ("abcd", "abce", "abcf")]
    for text, watcher in zip(("abcd", "abce"), waiting, strict=False):
        put(cache, text, asked=watcher.asked)
    node = cache.match(key("abc")).node
    cache.lock(node, waiting[2].asked)
    cache.unlock(node)
    for watcher in waiting:
        cache.unwatch(watcher)
    assert cache.evict(5, spare=True) == 2
    assert cached(cache) == ["abc"]
    assert cache.evict(5) == 3


def test_pins_are_spared_too() -> None:
    cache = cache_of(policy="density")
    put(cache, "aa")
    cache.pin(key("aa"))
    assert cache.evict(2, spare=True) == 0
    assert cache.evict(2) == 2


def test_a_leaf_that_was_begun_is_finished() -> None:
    cache = cache_of(policy="density")
    for text in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        put(cache, text)
    for _ in range(8):
        assert cache.evict(1) == 1
    assert len(cached(cache)) == 2


def test_nothing_but_what_is_free_to_go() -> None:
    cache = cache_of(policy="density")
    cache.lock(put(cache, "ab").node)
    put(cache, "abcd")
    put(cache, "xy", pending=1)
    assert cache.evict(100) == 2
    assert cached(cache) == ["ab", "xy"]


def test_a_prefix_has_one_hash_however_it_is_split() -> None:
    digests = set()
    for cuts in ((), (3,), (1, 5), (2, 3, 7)):
        cache = cache_of(policy="density")
        for cut in cuts:
            put(cache, "abcdefgh"[:cut])
        digests.add(put(cache, "abcdefgh").node.digest)
        cache = cache_of(policy="density")
        node = put(cache, "abcdefgh").node
        for cut in cuts:
            cache.match(key("abcdefgh"[:cut]))
        digests.add(node.digest)
    assert len(digests) == 1
    assert put(cache_of(policy="density"), "abcdefgi").node.digest not in digests


@pytest.mark.parametrize("page", [1, 4])
def test_invariants_through_a_thousand_events(page: int) -> None:
    rng = random.Random(page)
    cache = RadixCache(SlotAllocator(160, page), policy="density")
    locked: list[Node] = []
    watchers = []
    for number in range(1000):
        tokens = np.array([rng.randrange(3) for _ in range(rng.randrange(1, 8) * page)])
        kind = rng.randrange(8)
        if kind < 4:
            slots = cache.allocator.alloc(len(tokens))
            if slots is not None:
                done = cache.insert(tokens, slots, pending=number if kind == 3 else None)
                cache.allocator.free(done.duplicates)
        elif kind == 4:
            node = cache.match(tokens).node
            cache.lock(node)
            locked.append(node)
        elif kind == 5:
            cache.evict(rng.randrange(20), spare=rng.random() < 0.3)
        elif kind == 6:
            watchers.append(cache.watch(tokens, "", None))
            cache.pin(tokens)
        else:
            while locked:
                cache.unlock(locked.pop())
            while watchers:
                cache.unwatch(watchers.pop())
            for lost in cache.discard(number - 3):
                cache.allocator.free(lost.slots)
            cache.commit(number)
        cache.check_invariants()
    while locked:
        cache.unlock(locked.pop())
    cache.commit(1000)
    cache.reset()
    assert cache.allocator.available == 160


def test_broken_leaves_are_named() -> None:
    cache = cache_of(policy="density")
    put(cache, "ab")
    node = put(cache, "abc").node
    reuse = cache._structure.reuse
    assert reuse is not None
    reuse.leaves.discard(node)
    with pytest.raises(InvariantError, match=r"^I11:"):
        cache.check_invariants()
    reuse.leaves.add(node)
    cache.check_invariants()
    node.spots = Spots(node)
    with pytest.raises(InvariantError, match=r"^I(9|11):"):
        cache.check_invariants()
    reuse.leaves.sort(node)
    node.spots = None
    with pytest.raises(InvariantError, match=r"^I11:"):
        cache.check_invariants()
    reuse.leaves.sort(node)
    cache.check_invariants()
    for compared in (reuse.leaves.seen, reuse.leaves.rank):
        compared[node.place] += 1
        with pytest.raises(InvariantError, match=r"^I11:"):
            cache.check_invariants()
        compared[node.place] -= 1
    cache.check_invariants()


def test_bins_of_many_ages_are_those_of_each() -> None:
    ages = [0, 1, 2, 3, 7, 100, 4095, 4096, 10**6, 10**9, 1 << 40, *range(5, 5000, 13)]
    bins = reuse_module._bins(np.array(ages, np.float64))
    assert bins.tolist() == [reuse_module._bin(age) for age in ages]


def _forest(prompts: int) -> tuple[RadixCache, list[Node]]:
    """So many prompts, each one leaf; every other one used twice."""
    cache = cache_of(4 * prompts, policy="density")
    nodes = [put(cache, chr(1000 + number) * 4).node for number in range(prompts)]
    for node in nodes[::2]:
        cache.lock(node)
        cache.unlock(node)
    return cache, nodes


def test_one_choice_serves_several_evictions_among_many_leaves() -> None:
    """And each of them takes what earns little: none that was used twice goes first."""
    cache, nodes = _forest(1000)
    reuse = cache._structure.reuse
    assert reuse is not None
    choose, made = reuse._choose, 0

    def counting(count: int) -> None:
        nonlocal made
        made += 1
        choose(count)

    reuse._choose = counting  # type: ignore[method-assign]
    for _ in range(160):
        assert cache.evict(4) == 4
    assert 20 <= made <= 30  # a leaf may be drawn twice
    assert all(node.alive for node in nodes[::2])
    cache.check_invariants()


def test_what_was_chosen_and_is_used_or_wanted_since_stays() -> None:
    cache, nodes = _forest(200)
    reuse = cache._structure.reuse
    assert reuse is not None
    cache.evict(4)
    chosen = [node for node, _ in reuse._chosen if node.alive]
    assert len(chosen) == 7
    held, used, pinned, waited, split = chosen[-5:]
    names = {node: chr(1000 + number) * 4 for number, node in enumerate(nodes)}
    cache.lock(held)
    cache.lock(used)
    cache.unlock(used)
    cache.pin(key(names[pinned]))
    watcher = cache.watch(key(names[waited] + "x"), "", None)
    cache.match(key(names[split][:2]))
    for _ in range(20):
        assert cache.evict(4) == 4
    for node in (held, used, pinned, waited):
        assert node.alive
    cache.unwatch(watcher)
    cache.check_invariants()


def test_among_few_leaves_each_eviction_looks_at_all() -> None:
    """So that what has just been released, where it earns the least, goes at once."""
    cache, nodes = _forest(100)
    for node in nodes[1::2]:
        cache.lock(node)
        cache.unlock(node)
    reuse = cache._structure.reuse
    assert reuse is not None
    reuse._build = lambda: None  # type: ignore[method-assign]
    reuse._density[2:] = 1.0
    assert cache.evict(4) == 4
    for number in range(10):
        newest = put(cache, chr(number) * 2).node
        assert cache.evict(2) == 2
        assert not newest.alive

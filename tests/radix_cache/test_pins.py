from __future__ import annotations

import pytest

from espalier.errors import InvalidRequestError
from espalier.radix_cache.node import Node
from espalier.radix_cache.pins import PinRegistry
from tests.radix_cache.building import Clock, cache_of, cached, key, put


def test_pinned_goes_last_and_the_oldest_pin_first() -> None:
    cache = cache_of()
    put(cache, "aa")
    put(cache, "bb")
    first = cache.pin(key("aa"))
    second = cache.pin(key("bb"))
    put(cache, "cc")
    cache.match(key("aa"))
    assert cache.evictable == 6
    assert cache.evict(2) == 2
    assert cached(cache) == ["aa", "bb"]
    assert cache.evict(1) == 1
    assert cached(cache) == ["a", "bb"]
    assert (first.active, second.active) == (False, True)
    cache.unpin(first)  # lost already
    cache.unpin(second)
    assert cache.stats().pinned == 0
    cache.check_invariants()


def test_weak_pins_go_first_whatever_their_age() -> None:
    cache = cache_of(16, pin_share=0.5)
    for text in ("aa", "bb", "cc"):
        put(cache, text)
    strong = cache.pin(key("aa"))
    weak = [cache.pin(key("bb"), weak=True), cache.pin(key("cc"), weak=True)]
    assert cache.evict(1) == 1
    assert [pin.active for pin in (strong, *weak)] == [True, False, True]
    put(cache, "dddddd")
    other = cache.pin(key("dddddd"))  # beyond the share of 8
    assert [pin.active for pin in (strong, weak[1], other)] == [True, False, True]
    put(cache, "ee")
    assert not cache.pin(key("ee"), weak=True).active  # the strong fill the share
    assert [pin.active for pin in (strong, other)] == [True, True]
    cache.check_invariants()


def test_pressure_spares_pins_whose_prefix_is_held() -> None:
    cache = cache_of()
    held = put(cache, "aa").node
    put(cache, "bb")
    pins = [cache.pin(key("aa")), cache.pin(key("bb"))]
    cache.lock(held)
    assert cache.evict(1) == 1
    assert [pin.active for pin in pins] == [True, False]
    cache.unlock(held)
    assert cache.evict(9) == 3
    assert not pins[0].active


def test_pins_on_one_node_are_all_lost_before_it_goes() -> None:
    cache = cache_of()
    put(cache, "aabb")
    pins = [cache.pin(key("aabb")), cache.pin(key("aa")), cache.pin(key("aabb"))]
    assert cache.stats().pinned == 4
    assert cache.evict(2) == 2
    assert [pin.active for pin in pins] == [False, False, False]
    assert cached(cache) == ["aa"]


def test_the_share_is_kept_by_losing_the_oldest() -> None:
    cache = cache_of(16, pin_share=0.25)
    for text in ("aaa", "bbb", "cc"):
        put(cache, text)
    first, second = cache.pin(key("aaa")), cache.pin(key("bbb"))
    assert (first.active, second.active, cache.stats().pinned) == (False, True, 3)
    third = cache.pin(key("b"))  # covered already, costs nothing
    assert (second.active, third.length) == (True, 1)
    put(cache, "aaaaaaaa")
    whole = cache.pin(key("aaaaaaaa"))
    assert (whole.length, whole.active, second.active, third.active) == (4, True, False, False)
    cache.check_invariants()


def test_no_share_means_no_pins() -> None:
    cache = cache_of(pin_share=0)
    put(cache, "aa")
    assert not cache.pin(key("aa")).active


def test_what_is_not_cached_cannot_be_pinned() -> None:
    cache = cache_of()
    pin = cache.pin(key("aa"))
    assert (pin.active, pin.length) == (False, 0)
    assert repr(pin) == "<Pin 0 '' 0..0 gone>"
    cache.unpin(pin)
    assert cache.stats().namespaces == 0


def test_pins_expire_by_the_clock() -> None:
    clock = Clock()
    cache = cache_of(clock=clock)
    put(cache, "aa")
    pin = cache.pin(key("aa"), ttl=10)
    put(cache, "bb")
    clock.now += 9.9
    assert (cache.stats().pins, pin.active) == (1, True)
    clock.now += 0.1
    cache.match(key("bb"))
    assert cache.evict(2) == 2  # expired just in time, and so no longer last
    assert not pin.active
    assert cached(cache) == ["aa"]  # losing a pin counts as a use


def test_expiry_is_seen_before_the_pressure() -> None:
    clock = Clock()
    cache = cache_of(clock=clock)
    put(cache, "aa")
    put(cache, "bb")
    lasting, expiring = cache.pin(key("aa")), cache.pin(key("bb"), ttl=1)
    clock.now += 2
    assert cache.evict(1) == 1
    assert (lasting.active, expiring.active) == (True, False)


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_ttls_that_cannot_be(ttl: float) -> None:
    with pytest.raises(InvalidRequestError, match="ttl > 0"):
        cache_of().pin(key("a"), ttl=ttl)


def test_a_discarded_node_loses_its_pins() -> None:
    cache = cache_of()
    put(cache, "ab")
    node = put(cache, "abcd", pending=1).node
    upper, lower = cache.pin(key("ab")), cache.pin(key("abcd"))
    cache.match(key("abc"))
    assert node.pins == 1
    for run in cache.discard(1):
        cache.allocator.free(run.slots)
    assert (upper.active, lower.active) == (True, False)
    assert cache.stats().pinned == 2
    cache.unpin(upper)
    assert cache.stats().pinned == 0
    cache.check_invariants()


def test_a_discard_unpins_above() -> None:
    cache = cache_of()
    put(cache, "ab")
    put(cache, "abcd", pending=1)
    cache.pin(key("abcd"))
    for run in cache.discard(1):
        cache.allocator.free(run.slots)
    cache.check_invariants()
    assert (cache.stats().pinned, cache.stats().pins) == (0, 0)


def test_the_registrys_heaps_stay_small() -> None:
    """A program that pins and unpins for ever leaves nothing behind."""
    pins = PinRegistry()
    node = Node("", None, b"", b"", 4)
    for _ in range(1000):
        pins.remove(pins.add(node, expires=1e9, weak=False))
    assert len(pins._droppable) < 100
    assert len(pins._by_expiry) < 100
    assert node.own_pins is None
    keep = pins.add(node, expires=5.0, weak=False)
    assert pins.next_droppable() is keep
    assert pins.next_expired(4.9) is None
    assert pins.next_expired(5.0) is keep
    assert pins.next_expired(9.0) is None


def test_locking_a_pinned_prefix_again_and_again_leaves_nothing_behind() -> None:
    cache = cache_of()
    node = put(cache, "aa").node
    cache.pin(key("aa"))
    put(cache, "bb")
    for _ in range(10):
        cache.lock(node)
        cache.evict(100)  # under pressure: the pin is looked at, and waits
        put(cache, "bb")
        cache.unlock(node)
        cache.lock(node)
        cache.unlock(node)
    assert len(cache._structure.pins._droppable) == 1


def test_pins_are_told_in_the_order_in_which_they_go_and_back() -> None:
    cache = cache_of()
    put(cache, "abcd")
    for number in range(6):
        cache.pin(key("abcd"[: number % 3 + 1]), weak=number % 2 == 0)
    pins = cache._structure.pins
    assert [(pin.weak, pin.serial) for pin in pins.active()] == [
        *((True, serial) for serial in (1, 3, 5)),
        *((False, serial) for serial in (2, 4, 6)),
    ]
    assert list(pins.last_first()) == pins.active()[::-1]

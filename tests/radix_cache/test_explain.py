from __future__ import annotations

import msgspec

from espalier.radix_cache import explain
from tests.radix_cache.building import Clock, cache_of, key, put


def test_how_far_and_through_what() -> None:
    cache = cache_of()
    cache.lock(put(cache, "ab").node)
    put(cache, "abcdef", pending=3)
    cache.pin(key("abc"))
    told = cache.explain(key("abcdexy"))
    assert (told.asked, told.matched, told.committed, told.pending) == (7, 5, 2, 3)
    assert [(run.start, run.end) for run in told.runs] == [(0, 2), (2, 3), (3, 5)]
    assert [run.pending for run in told.runs] == [False, True, True]
    assert [run.held for run in told.runs] == [True, True, True]
    assert [run.pinned for run in told.runs] == [True, True, False]
    assert cache.stats().nodes == 3  # explaining split nothing
    assert msgspec.json.decode(msgspec.json.encode(told))["reason"] == "diverged"


def test_words() -> None:
    cache = cache_of()
    assert cache.explain(key("ab")).why == "nothing is cached in this namespace"
    put(cache, "abcd")
    assert cache.explain(key("abcd")).why == "the whole key is cached"
    assert cache.explain(key("ab")).reason == "matched"
    assert cache.explain(key("abcdef")).why == "the cached sequence ends at 4"
    assert cache.explain(key("abx")).why == "diverged at 2: cached token 99 but asked 120"
    for last in "efghi":
        put(cache, "abcd" + last)
    assert cache.explain(key("abcdz")).why == (
        "diverged at 4: cached tokens 101, 102, 103, 104 and 1 others but asked 122"
    )
    assert cache.explain(key("ab"), "other").reason == "empty"


def test_page_borders() -> None:
    cache = cache_of(page=4)
    put(cache, "aaaabbbb")
    assert cache.explain(key("aaaabb")).why == (
        "the last 2 tokens do not fill a page of 4, so they are not shared"
    )
    told = cache.explain(key("aaaabbxx"))
    assert (told.reason, told.matched) == ("page", 4)
    assert told.why == (
        "diverged inside a page at 6: cached token 98 but asked 120; 2 further tokens agree, but "
        "only whole pages of 4 are shared"
    )
    assert cache.explain(key("aaaaxbbb")).reason == "diverged"


def test_evicted() -> None:
    clock = Clock()
    cache = cache_of(clock=clock)
    put(cache, "abcdef")
    put(cache, "abxy")
    cache.match(key("abxy"))
    cache.commit(41)
    clock.now = 123.5
    cache.evict(1)
    told = cache.explain(key("abcdef"))
    assert (told.reason, told.matched) == ("evicted", 5)
    assert told.why == "1 tokens cached from 5 on were evicted at time 123.500, after step 41"
    assert cache.explain(key("abcdez")).reason == "end"
    cache.reset()
    told = cache.explain(key("abcdef"))
    assert told.why.startswith(
        "nothing is cached in this namespace; 2 tokens cached from 0 on were"
    )
    put(cache, "abcdef")
    assert cache.explain(key("abcdef")).reason == "matched"


def test_discarded() -> None:
    cache = cache_of()
    put(cache, "ab")
    put(cache, "abcdef", pending=1)
    cache.discard(1)
    told = cache.explain(key("abcdef"))
    assert (told.reason, told.matched) == ("discarded", 2)
    assert told.why.startswith("4 tokens cached from 2 on were discarded at time")


def test_the_record_is_bounded() -> None:
    cache = cache_of(4096)
    put(cache, "a")
    for token in range(explain._REMEMBERED + 50):
        slots = cache.allocator.alloc(1)
        assert slots is not None
        cache.insert(key("x") + token + 1000, slots)
    cache.reset()
    assert len(cache._losses._losses) == explain._REMEMBERED


def test_what_was_lost_elsewhere_is_no_reason() -> None:
    cache = cache_of()
    put(cache, "xq")
    cache.reset()
    put(cache, "abc")
    assert cache.explain(key("xq")).reason == "evicted"
    assert cache.explain(key("abx")).reason == "diverged"

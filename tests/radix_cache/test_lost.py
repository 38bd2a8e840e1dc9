"""What is remembered of evicted runs, and what that takes."""

from __future__ import annotations

import random
import tracemalloc

from espalier.radix_cache.lost import REMEMBERED, Lost, place_of
from tests.radix_cache.building import cache_of, put


def test_what_was_put_is_got_and_popped_once() -> None:
    lost = Lost()
    assert lost.get(7) is lost.pop(7) is None
    lost.put(7, 0, 3, 1 << 40)
    lost.put(7, 5, 1, 2)
    assert lost.get(7) == lost.pop(7) == (5, 1, 2)
    assert lost.get(7) is lost.pop(7) is None


def test_it_agrees_with_a_dict_while_there_is_room() -> None:
    rng = random.Random(0)
    lost, naive = Lost(), dict[int, tuple[int, int, int]]()
    prefixes = [rng.getrandbits(64) for _ in range(40)]
    for asked in range(8_000):
        place = place_of(rng.choice(prefixes), rng.randrange(200).to_bytes(8, "little"))
        if rng.random() < 0.3:
            assert lost.pop(place) == naive.pop(place, None)
        else:
            told = asked, rng.randrange(1, 4), rng.randrange(1, 1 << 30)
            lost.put(place, *told)
            naive[place] = told
        assert lost.get(place) == naive.get(place)


def test_runs_below_one_prefix_do_not_push_each_other_out() -> None:
    for page in (1, 16):
        lost = Lost()
        places = [place_of(3, n.to_bytes(8, "little") * page) for n in range(REMEMBERED // 2)]
        for asked, place in enumerate(places):
            lost.put(place, asked, 1, 1)
        assert sum(lost.get(place) is not None for place in places) > 0.97 * len(places)


def test_the_latest_are_remembered() -> None:
    rng, lost = random.Random(0), Lost()
    places = [rng.getrandbits(64) for _ in range(3 * REMEMBERED)]
    for asked, place in enumerate(places):
        lost.put(place, asked, 1, 1)
    known = [lost.get(place) is not None for place in places]
    assert sum(known[-REMEMBERED // 4 :]) > 0.98 * REMEMBERED // 4
    assert sum(known[:REMEMBERED]) < 0.02 * REMEMBERED
    assert sum(known) <= REMEMBERED


def test_a_cache_that_loses_everything_does_not_grow() -> None:
    """Some 300 bytes a run it was, and 65,536 runs."""
    cache = cache_of(64, policy="density")
    tracemalloc.start()
    try:
        for number in range(5_000):
            put(cache, f"{chr(1000 + number)}a")
            cache.evict(2)
            if number == 2_000:  # explain.py has its 1,024 losses
                before = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 3_000 * 8

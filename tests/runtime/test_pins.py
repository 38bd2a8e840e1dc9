"""Holds: what a request that has ended well leaves pinned, and for how long."""

from __future__ import annotations

import random

import numpy as np
import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime import pins
from espalier.types import Hold
from tests.cores import Harness


def pinned(harness: Harness) -> int:
    harness.core.pins.settle()
    return harness.scheduler.cache.stats().pinned


def test_a_hold_covers_what_the_request_left_cached() -> None:
    harness = Harness()
    harness.submit([1, 2, 3], 4, holds=[Hold(1), Hold(2, tokens=2)])
    harness.run()
    assert pinned(harness) == 6  # all but the last token, which no row has run
    assert harness.core.pins.held == 2
    harness.core.pins.release([1])
    assert pinned(harness) == 2
    harness.core.pins.release([1, 2, 99])
    assert pinned(harness) == harness.core.pins.held == 0
    harness.check_all_returned()


def test_a_key_has_its_longest_hold() -> None:
    harness = Harness()
    for count, tokens in ((2, None), (6, None), (6, 3)):
        harness.submit([1, 2, 3, 4], count, holds=[Hold(7, tokens)])
        harness.run()
        assert pinned(harness) == (5 if count == 2 else 9)
    assert harness.core.pins.held == 1


def test_a_hold_leaves_a_text_that_is_the_states_no_more() -> None:
    """A role's end may render the text anew, and shorter."""
    harness = Harness()
    harness.submit([1, 2, 3, 4], 6, holds=[Hold(7)])
    harness.run()
    assert pinned(harness) == 9
    harness.submit([1, 2, 4], 2, holds=[Hold(7)])
    harness.run()
    assert pinned(harness) == 4
    held = harness.scheduler.cache.match(np.array([1, 2, 4], dtype=np.int64))
    assert held.length == 3
    assert harness.core.pins.held == 1


def test_a_hold_has_its_time() -> None:
    harness = Harness()
    harness.submit([1, 2, 3], 2, holds=[Hold(1, seconds=10.0)])
    harness.run()
    assert pinned(harness) == 4
    harness.clock.now += 11
    assert pinned(harness) == harness.core.pins.held == 0


def test_only_what_ends_by_itself_is_held() -> None:
    harness = Harness()
    cancelled = harness.submit([1, 2, 3], 50, holds=[Hold(1)])
    harness.step()
    harness.core.cancel(cancelled)
    harness.submit([4, 4], 50, holds=[Hold(2)], deadline=1.0)
    harness.step()
    harness.clock.now += 2
    harness.run()
    assert pinned(harness) == 0


@pytest.mark.parametrize("overlap", [False, True])
def test_released_before_it_is_held(overlap: bool) -> None:
    harness = Harness(overlap=overlap)
    number = harness.submit([1, 2, 3], 3, holds=[Hold(1), Hold(2)])
    while number not in harness.results:
        harness.step()
    harness.core.pins.release([1])
    harness.run()
    harness.core.pins.settle()
    assert harness.core.pins.held == 1
    harness.core.pins.release([2])
    assert pinned(harness) == 0
    harness.check_all_returned()


def test_holds_of_clients_that_forgot_them_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "_SWEEP", 8)
    harness = Harness()
    harness.core.pins._sweep_at = 8
    for key in range(40):
        harness.submit([1, 2, key % 5], 1, holds=[Hold(key, seconds=1.0)])
        harness.run()
        harness.clock.now += 2
        harness.core.pins.settle()
    assert len(harness.core.pins._holds) <= 9


def test_bad_holds_end_their_request_alone() -> None:
    harness = Harness()
    harness.submit([1, 2], 2, holds=[Hold(1, seconds=-1.0)])
    harness.submit([1, 2], 2, holds=[Hold(1, seconds=float("nan"))])
    harness.submit([1, 2], 2, holds=[Hold(1, tokens=-5)])
    harness.run()
    for number in (1, 2):
        error = harness.results[number].error
        assert isinstance(error, InvalidRequestError)
        assert error.where == "holds[0]"
    assert harness.results[3].error is None
    assert pinned(harness) == 0


def test_pins_that_ran_out_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "_SWEEP", 8)
    harness = Harness()
    harness.submit([1, 2, 3], 2)
    harness.run()
    book = harness.core.pins
    book._pins_at = 8
    key = np.array([1, 2, 3], dtype=np.int64)
    numbers = []
    for _ in range(60):
        numbers.append(book.pin(key, "", 1.0))
        harness.clock.now += 2
    assert len(book._pins) <= 9
    book.unpin(numbers[0])  # it has run out: nothing is left to drop
    with pytest.raises(InvalidRequestError):
        book.unpin(numbers[-1] + 1)


@pytest.mark.parametrize("eviction", ["lru", "density"])
def test_what_is_being_admitted_is_not_evicted_for_itself(eviction: str) -> None:
    """Pins, tight memory, and newcomers whose cached prefix is what could be evicted."""
    for seed in range(60):
        rng = random.Random(seed)
        harness = Harness(
            capacity=rng.choice([40, 60, 80]),
            max_running=8,
            step_tokens=64,
            headroom=rng.choice([0, 2, 16]),
            overlap=rng.random() < 0.5,
            eviction=eviction,
        )
        pool = [[rng.randrange(5) for _ in range(rng.randrange(3, 25))] for _ in range(5)]
        for _ in range(60):
            if rng.random() < 0.5:
                for _ in range(rng.randrange(1, 4)):
                    base = rng.choice(pool)
                    tail = [rng.randrange(5) for _ in range(rng.randrange(6))]
                    harness.submit(
                        base[: rng.randrange(1, len(base) + 1)] + tail, rng.randrange(1, 8)
                    )
            if rng.random() < 0.3:
                harness.core.pins.pin(np.array(rng.choice(pool), dtype=np.int64), "", None)
            harness.step()
        harness.run()

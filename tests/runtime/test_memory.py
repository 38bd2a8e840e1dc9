"""Tight memory: who is retracted, and that what is computed again is bounded."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from espalier.runtime import memory
from espalier.runtime.scheduler import Scheduler
from espalier.runtime.sequence import Sequence
from tests.cores import Harness


def _retracted(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids, in the order in which they are retracted from now on."""
    order: list[int] = []
    retract = Scheduler._retract

    def note(self: Scheduler, seq: Sequence) -> None:
        order.append(seq.id)
        retract(self, seq)

    monkeypatch.setattr(Scheduler, "_retract", note)
    return order


@pytest.mark.parametrize("overlap", [False, True])
def test_the_one_that_loses_least_is_retracted(
    overlap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The youngest has the longest prompt; the second the shortest."""
    harness = Harness(capacity=64, headroom=0, overlap=overlap)
    order = _retracted(harness, monkeypatch)
    harness.submit([1] * 16, 24)
    harness.step()
    short = harness.submit([2] * 6, 30)
    harness.step()
    harness.submit([3] * 26, 24)
    harness.run()
    assert order[0] == short
    harness.check_results()
    harness.check_all_returned()


def test_what_others_hold_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two share a long prefix: each would lose its own tail alone."""
    harness = Harness(capacity=64, headroom=0)
    order = _retracted(harness, monkeypatch)
    stem = [1, 0] * 12
    harness.submit([*stem, 2], 30)
    harness.submit([*stem, 3, 3], 30)
    harness.submit([4] * 12, 16)
    for _ in range(3):
        harness.step()
    first, second, third = harness.scheduler.running.values()
    assert [memory.progress(seq) for seq in (first, second, third)] == [3, 4, 14]
    harness.run()
    assert order[0] == second.id  # the younger of those that lose next to nothing
    harness.check_results()


def test_lower_priority_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(capacity=48, headroom=0)
    order = _retracted(harness, monkeypatch)
    low = harness.submit([1] * 20, 20)
    harness.step()
    harness.submit([2] * 4, 30, priority=1)
    harness.run()
    assert set(order) == {low}
    harness.check_results()


def _tight(seed: int, **config: Any) -> Harness:
    """Twenty requests that arrive over time, of which two or three fit to their ends."""
    rng = random.Random(seed)
    harness = Harness(capacity=160, step_tokens=32, max_running=12, **config)
    for number in range(20):
        harness.submit([number % 5, number // 5, *[rng.randrange(5) for _ in range(8)]], 60)
        for _ in range(rng.randrange(8)):
            harness.step(check=False)
    harness.run(check=False)
    harness.check_results()
    harness.check_all_returned()
    return harness


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("headroom", [0, 1])
def test_what_is_computed_again_is_bounded(
    seed: int, overlap: bool, headroom: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = _retracted(Harness(), monkeypatch)
    counters = _tight(seed, headroom=headroom, overlap=overlap).scheduler.counters
    often = math.log2(60 / max(1, headroom)) + 2
    assert all(order.count(request) <= often for request in set(order))
    assert counters.retractions == len(order)
    # 20 * 70 tokens are computed at least; 520 more here, and 780 were no headroom ever doubled.
    assert counters.recomputed_tokens <= 600

"""Who enters next, and that nobody starves."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from espalier.radix_cache import RadixCache, SlotAllocator
from espalier.runtime.request import Request
from espalier.runtime.sequence import Sequence
from espalier.runtime.waiting import WaitingQueue
from espalier.types import SamplingParams


def sequence(number: int, prompt: list[int], **more: Any) -> Sequence:
    request = Request(id=number, prompt=prompt, params=SamplingParams(), seed=0, **more)
    return Sequence(request, max_length=len(prompt) + 4)


def cache_with(*prompts: list[int]) -> RadixCache:
    allocator = SlotAllocator(1024)
    cache = RadixCache(allocator)
    for prompt in prompts:
        _insert(cache, prompt)
    return cache


def _insert(cache: RadixCache, prompt: list[int]) -> None:
    slots = cache.allocator.alloc(len(prompt))
    assert slots is not None
    added = cache.insert(np.array(prompt, np.int64), slots)
    cache.allocator.free(added.duplicates)


def drain(queue: WaitingQueue) -> list[int]:
    order = []
    while (seq := queue.peek()) is not None:
        assert queue.peek() is seq
        queue.remove(seq)
        order.append(seq.id)
    assert len(queue) == 0
    return order


def test_retracted_then_priority_then_prefix_then_arrival() -> None:
    queue = WaitingQueue(cache_with([1, 2, 3, 4]))
    retracted = sequence(6, [9])
    retracted.retracted = True
    for seq in (
        sequence(1, [9, 9]),
        sequence(2, [1, 2, 9]),
        sequence(3, [1, 2, 3]),
        sequence(4, [8, 8]),
        sequence(5, [7], priority=1),
        retracted,
    ):
        queue.add(seq)
    assert retracted in queue
    assert next(iter(queue)).id == 6
    assert drain(queue) == [6, 5, 3, 2, 1, 4]


def test_ranks_follow_the_tree() -> None:
    cache = cache_with()
    queue = WaitingQueue(cache)
    for number, prompt in enumerate(([1, 1, 1], [2, 2, 2], [3, 3, 3]), 1):
        queue.add(sequence(number, prompt))
    _insert(cache, [3, 3])
    assert queue.peek() is not None
    assert [seq.id for seq in queue] == [1, 2, 3]
    _insert(cache, [2, 2, 2])
    assert drain(queue) == [2, 3, 1]
    queue.add(sequence(4, [3, 3, 1]))
    queue.add(sequence(5, [7]))
    cache.reset()
    queue.add(sequence(6, [7]))
    assert drain(queue) == [4, 5, 6]
    assert cache.stats().watchers == 0


def test_without_a_cache_it_is_first_come_first_served() -> None:
    queue = WaitingQueue(None)
    for number, priority in enumerate((0, 0, 1, 0), 1):
        queue.add(sequence(number, [number], priority=priority))
    assert drain(queue) == [3, 1, 2, 4]


def test_the_oldest_is_passed_over_a_bounded_number_of_times() -> None:
    queue = WaitingQueue(cache_with([1, 2, 3]), age_bound=3)
    queue.add(sequence(1, [9]))
    for number in range(2, 9):
        queue.add(sequence(number, [1, 2, 3]))
    assert drain(queue) == [2, 3, 4, 1, 5, 6, 7, 8]


def test_retracts_do_not_start_the_count_again() -> None:
    """Sequences that come back go first, but the oldest newcomer's turn comes no later for it."""
    queue = WaitingQueue(cache_with([1, 2, 3]), age_bound=3)
    queue.add(sequence(1, [9]))
    order = []
    for number in range(2, 8):
        queue.add(sequence(number, [1, 2, 3]))
    for _ in range(4):
        back = sequence(100, [5])
        back.retracted = True
        queue.add(back)
        for _ in range(2):
            seq = queue.peek()
            assert seq is not None
            queue.remove(seq)
            order.append(seq.id)
    assert order == [100, 2, 100, 3, 100, 4, 100, 1]


def test_a_long_queue_keeps_a_short_heap() -> None:
    cache = cache_with()
    queue = WaitingQueue(cache)
    for number in range(50):
        queue.add(sequence(number, [1, number]))
    for _ in range(40):
        _insert(cache, [1])
        queue.peek()
        cache.reset()
        queue.peek()
    gone = next(iter(queue))
    queue.remove(gone)
    assert len(queue._lanes._lanes[""].heap) <= 4 * len(queue) + 64


class QueueMachine(RuleBasedStateMachine):
    """Against the naive order: sort everybody by rank each time."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = cache_with()
        self.queue = WaitingQueue(self.cache, age_bound=4)
        self.waiting: list[Sequence] = []
        self.numbers = 0
        self.passed_over = 0

    key = st.lists(st.integers(0, 1), min_size=1, max_size=5)

    @rule(
        prompt=key,
        priority=st.sampled_from([0, 0, 1]),
        retracted=st.sampled_from([False] * 4 + [True]),
    )
    def add(self, prompt: list[int], priority: int, retracted: bool) -> None:
        self.numbers += 1
        seq = sequence(self.numbers, prompt, priority=priority)
        seq.retracted = retracted
        self.queue.add(seq)
        if retracted:
            self.waiting.insert(0, seq)
        else:
            self.waiting.append(seq)

    @rule(prompt=key)
    def insert(self, prompt: list[int]) -> None:
        _insert(self.cache, prompt)

    @rule(count=st.integers(1, 6))
    def evict(self, count: int) -> None:
        self.cache.evict(count)

    def _naive(self) -> Sequence | None:
        if not self.waiting:
            return None
        if self.passed_over >= 4:
            return self.waiting[0]
        return min(
            self.waiting,
            key=lambda seq: (
                not seq.retracted,
                -seq.priority,
                -self.cache.peek(seq.key(seq.known)),
                seq.arrival,
            ),
        )

    @invariant()
    def agrees(self) -> None:
        found, wanted = self.queue.peek(), self._naive()
        if wanted is not None and wanted.retracted:
            assert found is not None
            assert found.retracted  # equals among themselves come in no promised order
        else:
            assert found is wanted
        assert len(self.queue) == len(self.waiting)
        self.cache.check_invariants()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9), take=st.booleans())
    def leave(self, which: int, take: bool) -> None:
        """To run (take), or because it was cancelled."""
        seq = self.queue.peek() if take else self.waiting[which % len(self.waiting)]
        assert seq is not None
        oldest = next((other for other in self.waiting if not other.retracted), None)
        if not seq.retracted:
            self.passed_over = 0 if seq is oldest else self.passed_over + 1
        self.queue.remove(seq)
        self.waiting.remove(seq)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)

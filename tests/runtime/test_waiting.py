"""Who enters next, and that nobody starves."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from espalier.radix_cache import Node, RadixCache, SlotAllocator, Watcher
from espalier.radix_cache.watch import WatchIndex
from espalier.runtime.core import EngineCore
from espalier.runtime.lanes import Lanes
from espalier.runtime.model_runner import NullRunner
from espalier.runtime.options import SchedulerConfig
from espalier.runtime.request import Request
from espalier.runtime.scheduler import Scheduler
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


def queue_of(policy: Any, count: int = 40) -> WaitingQueue:
    """Of prompts of which the last have the longest prefix cached."""
    queue = WaitingQueue(cache_with(list(range(count))), policy=policy)
    for number in range(1, count):
        queue.add(sequence(number, [*range(number), 99]))
    queue.add(sequence(count, [98], priority=1))
    return queue


def test_policies() -> None:
    assert drain(queue_of("lpm")) == [40, *range(39, 0, -1)]
    assert drain(queue_of("fcfs")) == [40, *range(1, 40)]
    drawn = drain(queue_of("random"))
    assert drawn[0] == 40
    assert sorted(drawn) == list(range(1, 41))
    assert drawn not in (drain(queue_of("lpm")), drain(queue_of("fcfs")))
    assert drawn == drain(queue_of("random"))


def test_a_place_that_was_drawn_does_not_change_with_the_tree() -> None:
    cache = cache_with()
    queue = WaitingQueue(cache, policy="random")
    other = WaitingQueue(None, policy="random")
    for number in range(1, 9):
        for into in (queue, other):
            into.add(sequence(number, [number] * 3))
    _insert(cache, [3, 3])
    _insert(cache, [7, 7, 7])
    queue.begin_step()
    assert drain(queue) == drain(other)


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
    lane = queue._lanes._lanes[""]
    assert len(lane.heap) <= 4 * len(queue) + 64


class Counts:
    """How often the two things are done that cost something for one waiting sequence each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked = self.ranked = self.swept = 0
        place, push, heappush = WatchIndex._place, Lanes.push, heapq.heappush

        def looking(index: WatchIndex, watcher: Watcher, node: Node) -> None:
            self.looked += 1
            place(index, watcher, node)

        def ranking(lanes: Lanes, seq: Sequence, depth: int, number: int) -> None:
            self.ranked += 1
            push(lanes, seq, depth, number)

        def sweeping(heap: list[Any], entry: Any) -> None:
            self.swept += 1
            heappush(heap, entry)

        monkeypatch.setattr(WatchIndex, "_place", looking)
        monkeypatch.setattr(Lanes, "push", ranking)
        monkeypatch.setattr(heapq, "heappush", sweeping)

    def clear(self) -> None:
        self.looked = self.ranked = self.swept = 0


def test_a_step_moves_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, at every step of a load in which headers that hundreds wait for come and go."""
    scheduler = Scheduler(SchedulerConfig(capacity=256, max_running=4, step_tokens=256))
    scheduler.waiting = WaitingQueue(scheduler.cache, moves=16)
    core = EngineCore(scheduler, NullRunner(), lambda _: None, vocab_size=99, max_context=256)
    for number in range(1200):
        prompt = [number % 2 + 1] * 90 + [number % 97]
        params = SamplingParams(max_tokens=1)
        core.submit(Request(id=number, prompt=prompt, params=params, seed=0))
    counts = Counts(monkeypatch)
    steps = most = 0
    while not core.idle:
        before = len(scheduler.waiting)
        core.step()
        admitted = before - len(scheduler.waiting)
        assert counts.looked <= 16 + admitted + 1  # who is admitted, or was to be, is looked at
        assert counts.ranked <= 16
        assert counts.swept <= 16 + 8 * (16 + admitted) + 8 * admitted
        most = max(most, counts.looked)
        steps += 1
        counts.clear()
        if steps % 40 == 7:
            scheduler.cache.reset()
        if steps % 50 == 0:
            scheduler.check_invariants()
    assert most >= 16
    scheduler.check_invariants()


def test_a_header_that_all_wait_for_costs_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entering and leaving are one move each, whatever the number of those who wait for it."""
    cache = cache_with()
    queue = WaitingQueue(cache)
    for number in range(500):
        queue.add(sequence(number, [1, 2, 3, number]))
    counts = Counts(monkeypatch)
    for _ in range(3):
        _insert(cache, [1, 2, 3, 7])
        cache.match(np.array([1, 2], np.int64))
        cache.reset()
    assert counts.looked == counts.ranked == 0
    cache.check_invariants()
    _insert(cache, [1, 2, 3])
    assert [queue.depth(seq) for seq in queue] == [3] * 500
    assert counts.looked == 500


def test_the_order_lags_behind_a_great_change_and_comes_right() -> None:
    cache = cache_with([5, 5])
    queue = WaitingQueue(cache, moves=8)
    for number in range(100):
        queue.add(sequence(number, [1, 2, 3, number]))
    queue.add(sequence(100, [5, 5, 1]))
    _insert(cache, [1, 2, 3])
    first = queue.peek()
    assert first is not None
    assert first.id == 0  # of a change in the order they came
    cache.evict(3)
    _insert(cache, [5, 5, 1])
    for _ in range(20):
        queue.begin_step()
        first = queue.peek()
    assert first is not None
    assert first.id == 100
    assert cache.next_moved() is None


def test_who_is_first_is_looked_at() -> None:
    """A hundred lose their prefix; who kept some goes before them, heard of or not."""
    cache = cache_with([5, 5], [1, 2, 3])
    queue = WaitingQueue(cache, moves=8)
    for number in range(100):
        queue.add(sequence(number, [1, 2, 3, number]))
    queue.add(sequence(100, [5, 5, 1]))
    cache.match(np.array([5, 5], np.int64))
    cache.evict(3)
    first = queue.peek()
    assert first is not None
    assert queue.depth(first) == 0  # eight looks were not enough
    for _ in range(12):
        queue.begin_step()
        first = queue.peek()
    assert first is not None
    assert first.id == 100


class QueueMachine(RuleBasedStateMachine):
    """Against the naive order: sort everybody by rank each time."""

    moves = 256

    def __init__(self) -> None:
        super().__init__()
        self.cache = cache_with()
        self.queue = WaitingQueue(self.cache, age_bound=4, moves=self.moves)
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
        self.queue.begin_step()
        self._compare()

    def _compare(self) -> None:
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


class LaggingMachine(QueueMachine):
    """One look at who is first, three at others: the order may lag, but comes right."""

    moves = 4

    @invariant()
    def agrees(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert {seq.id for seq in self.queue} == {seq.id for seq in self.waiting}
        self.cache.check_invariants()

    @rule(looks=st.integers(1, 3))
    def look(self, looks: int) -> None:
        """What the order lags by is depth alone."""
        self.queue.begin_step()
        for _ in range(looks):
            found, wanted = self.queue.peek(), self._naive()
            if found is None or wanted is None:
                assert found is wanted
            elif self.passed_over >= 4:
                assert found is self.waiting[0]
            else:
                assert (found.retracted, found.priority) == (wanted.retracted, wanted.priority)

    @rule()
    def catch_up(self) -> None:
        for _ in range(len(self.waiting) + 1):
            self.queue.begin_step()
            self.queue.peek()
        self._compare()


SETTINGS = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestQueueMachine, TestLaggingMachine = QueueMachine.TestCase, LaggingMachine.TestCase
TestQueueMachine.settings = TestLaggingMachine.settings = SETTINGS

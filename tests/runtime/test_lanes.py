"""Namespaces share by weight; inside one, waiting raises priority."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from espalier.runtime.request import Request
from espalier.runtime.sequence import Sequence
from espalier.runtime.waiting import WaitingQueue
from espalier.types import SamplingParams


def _sequence(number: int, *, submitted: float = 0.0, **more: Any) -> Sequence:
    request = Request(id=number, prompt=[number], params=SamplingParams(), seed=0, **more)
    return Sequence(request, max_length=9, submitted=submitted)


def _serve(queue: WaitingQueue, cost: int = 10) -> str:
    seq = queue.peek()
    assert seq is not None
    queue.remove(seq)
    queue.charge(seq.namespace, cost)
    return seq.namespace


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_a_flood_takes_no_more_than_its_share(weight: float) -> None:
    """A thousand requests of one namespace came before twenty of another."""
    queue = WaitingQueue(None, age_bound=10_000, shares={"few": weight})
    for number in range(1000):
        queue.add(_sequence(number, namespace="flood"))
    for number in range(1000, 1020):
        queue.add(_sequence(number, namespace="few"))
    order = [_serve(queue) for _ in range(60)]
    first = Counter(order[:24])
    assert first["few"] == pytest.approx(24 * weight / (1 + weight), abs=1.5)
    assert Counter(order)["few"] == 20


def test_tokens_are_shared_and_not_requests() -> None:
    queue = WaitingQueue(None, age_bound=10_000)
    for number in range(200):
        queue.add(_sequence(number, namespace="long" if number % 2 else "short"))
    served: Counter[str] = Counter()
    for _ in range(80):
        seq = queue.peek()
        assert seq is not None
        queue.remove(seq)
        cost = 90 if seq.namespace == "long" else 10
        queue.charge(seq.namespace, cost)
        served[seq.namespace] += cost
    assert served["long"] == pytest.approx(served["short"], abs=100)


def test_who_was_away_has_no_savings() -> None:
    queue = WaitingQueue(None, age_bound=10_000)
    for number in range(300):
        queue.add(_sequence(number, namespace="steady"))
    for _ in range(100):
        _serve(queue)
    for number in range(300, 400):
        queue.add(_sequence(number, namespace="back"))
    assert Counter(_serve(queue) for _ in range(40))["back"] <= 21


def test_the_oldest_is_still_passed_over_a_bounded_number_of_times() -> None:
    queue = WaitingQueue(None, age_bound=5, shares={"vip": 1e9})
    queue.add(_sequence(0, namespace="poor"))
    queue.charge("poor", 1000)
    for number in range(1, 30):
        queue.add(_sequence(number, namespace="vip"))
    order = [_serve(queue) for _ in range(8)]
    assert order.index("poor") <= 5


def test_many_namespaces_are_forgotten() -> None:
    queue = WaitingQueue(None)
    for number in range(5000):
        queue.add(_sequence(number, namespace=f"user {number}"))
        _serve(queue)
    assert len(queue._lanes._lanes) < 200
    assert len(queue._lanes._order) < 200


def test_waiting_raises_priority() -> None:
    """One that came 25 s before goes before one of priority 2, not before one of 3."""
    queue = WaitingQueue(None, ageing=10.0)
    queue.add(_sequence(1, submitted=100.0))
    queue.add(_sequence(2, submitted=125.0, priority=2))
    queue.add(_sequence(3, submitted=125.0, priority=3))
    queue.add(_sequence(4, submitted=125.0))
    order = []
    while (seq := queue.peek()) is not None:
        queue.remove(seq)
        order.append(seq.id)
    assert order == [3, 1, 2, 4]


def test_nobody_waits_longer_than_its_age_bound() -> None:
    """Urgent requests arrive as fast as they are served; one of priority 0 came first."""
    queue = WaitingQueue(None, age_bound=10_000, ageing=10.0)
    rng = random.Random(0)
    queue.add(_sequence(0, submitted=0.0))
    now, number = 0.0, 0
    while 0 in {seq.id for seq in queue}:
        now += 1.0
        for _ in range(rng.randrange(1, 3)):
            number += 1
            queue.add(_sequence(number, submitted=now, priority=4))
        seq = queue.peek()
        assert seq is not None
        queue.remove(seq)
        assert now < 200
    backlog = len(queue)  # at most those that came within 4 * 10 s of it were before it
    assert now <= 5 * 10 * 2
    assert backlog > 0

"""Namespaces share by weight; inside one, waiting raises priority."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime.options import EngineOptions, SchedulerConfig
from espalier.runtime.request import Request
from espalier.runtime.scheduler import Scheduler
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
    queue.charge(seq.tenant, cost)
    return seq.tenant


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


def test_many_namespaces_of_one_caller_have_one_share() -> None:
    """A cache salt makes a namespace; a new one for each request makes no greater share."""
    queue = WaitingQueue(None, age_bound=10_000)
    for number in range(1000):
        queue.add(_sequence(number, namespace=f"flood+{number}"))
    for number in range(1000, 1020):
        queue.add(_sequence(number, namespace="few"))
    assert Counter(_serve(queue) for _ in range(24))["few"] == pytest.approx(12, abs=1.5)
    with pytest.raises(InvalidRequestError, match="no share of its own"):
        EngineOptions(model="null", namespace_shares={"a+b": 2.0}).check()


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


@pytest.mark.parametrize("lanes", [1, 50])
def test_what_was_promised_and_given_back_leaves_nothing_behind(lanes: int) -> None:
    """Each answer may be long and is short: its namespace's place goes far back and returns."""
    queue = WaitingQueue(None, age_bound=10**9)
    number = 0
    for number in range(2 * lanes):
        queue.add(_sequence(number, namespace=f"tenant {number % lanes}"))
    for _ in range(3000):
        seq = queue.peek()
        assert seq is not None
        queue.remove(seq)
        queue.charge(seq.tenant, 10, ahead=100_000)
        queue.charge(seq.tenant, 20, ahead=-100_000)
        number += 1
        queue.add(_sequence(number, namespace=seq.tenant))
    assert len(queue._lanes._order) <= 8 * lanes + 64


def test_who_comes_and_goes_unserved_leaves_nothing_behind() -> None:
    queue = WaitingQueue(None)
    queue.add(_sequence(0, namespace="other"))
    for number in range(1, 3000):
        seq = _sequence(number)
        queue.add(seq)
        queue.remove(seq)
    assert len(queue._lanes._order) <= 128


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


def test_newcomers_without_end_do_not_hold_back_who_returns() -> None:
    """A cache salt per user: each request comes in a namespace of its own."""
    queue = WaitingQueue(None, age_bound=10**9)
    number = 0
    for _ in range(13):
        queue.add(_sequence(number, namespace=f"once {number}"))
        number += 1
    queue.add(_sequence(10**6, namespace="regular"))
    while _serve(queue) != "regular":
        pass
    queue.add(_sequence(10**6 + 1, namespace="regular"))
    waited = 0
    while _serve(queue) != "regular":
        queue.add(_sequence(number, namespace=f"once {number}"))
        number += 1
        waited += 1
    assert waited < 40
    for _ in range(3000):
        queue.add(_sequence(number, namespace=f"once {number}"))
        number += 1
        _serve(queue)
    assert len(queue._lanes._lanes) < 300


def test_long_answers_do_not_lock_short_ones_out() -> None:
    """Eight seats, equal shares: what a request may generate counts when it is seated."""
    scheduler = Scheduler(SchedulerConfig(capacity=100_000, max_running=8))
    served: Counter[str] = Counter()
    idle, longest_idle = 0, 0
    for number in range(400):
        for tenant, length in (("short", 10), ("long", 1000)):
            params = SamplingParams(max_tokens=length, ignore_eos=True)
            request = Request(
                id=2 * number + (tenant == "long"),
                prompt=[number + 3, 5],
                params=params,
                seed=0,
                namespace=tenant,
            )
            scheduler.add(Sequence(request, max_length=2 + length))
    for _ in range(600):
        step = scheduler.plan()
        assert step is not None
        for seq in step.samples:
            seq.append(7)
            served[seq.tenant] += 1
        scheduler.retire(step)
        for seq in list(scheduler.running.values()):
            if seq.known >= seq.max_length:
                scheduler.finish(seq)
        running = {seq.tenant for seq in scheduler.running.values()}
        idle = 0 if "short" in running else idle + 1
        longest_idle = max(longest_idle, idle)
    assert longest_idle < 20
    assert served["short"] > 1000


def test_deterministic_requests_are_their_tenants() -> None:
    queue = WaitingQueue(None, age_bound=10_000, shares={"gold": 3.0})
    for number in range(80):
        params = SamplingParams(deterministic=True)
        tenant = "gold" if number % 2 else "other"
        request = Request(id=number, prompt=[number], params=params, seed=0, namespace=tenant)
        queue.add(Sequence(request, max_length=9))
    order = []
    for _ in range(24):
        seq = queue.peek()
        assert seq is not None
        queue.remove(seq)
        queue.charge(seq.tenant, 10)
        order.append(seq.tenant)
    assert Counter(order)["gold"] == pytest.approx(18, abs=2)

"""Deadlines come in order, and those that are met leave nothing behind."""

from __future__ import annotations

from hypothesis import given, strategies as st

from espalier.runtime.deadlines import Deadlines
from tests.cores import Harness


def test_due_ones_come_in_the_order_of_their_times() -> None:
    deadlines = Deadlines()
    for request, at in ((1, 5.0), (2, 3.0), (3, 9.0), (4, 3.0)):
        deadlines.add(request, at)
    deadlines.discard(4)
    deadlines.discard(4)
    assert deadlines.next() == 3.0
    assert deadlines.pop_due(2.9) is None
    assert [deadlines.pop_due(5.0) for _ in range(3)] == [2, 1, None]
    assert (deadlines.next(), len(deadlines)) == (9.0, 1)
    deadlines.discard(3)
    assert deadlines.next() is None


@given(events=st.lists(st.tuples(st.sampled_from(["add", "drop", "due"]), st.integers(0, 9))))
def test_against_a_dict(events: list[tuple[str, int]]) -> None:
    deadlines, naive = Deadlines(), dict[int, float]()
    for number, (kind, value) in enumerate(events):
        if kind == "add":
            deadlines.add(number, float(value))
            naive[number] = float(value)
        elif kind == "drop":
            deadlines.discard(value)
            naive.pop(value, None)
        elif (request := deadlines.pop_due(value)) is not None:
            assert naive[request] == min(naive.values()) <= value
            del naive[request]
        else:
            assert all(at > value for at in naive.values())
        assert len(deadlines) == len(naive)
        assert deadlines.next() == min(naive.values(), default=None)


def test_finished_requests_leave_the_heap_long_before_their_deadlines() -> None:
    harness = Harness(capacity=64, max_running=4)
    late = harness.submit([3, 3], 50, deadline=7200.0)
    for _ in range(300):
        harness.submit([1, 2], 1, deadline=3600.0)
        harness.step(check=False)
    assert len(harness.core._deadlines) < 10
    assert len(harness.core._deadlines._heap) < 100
    harness.run()
    assert harness.results[late].finish_reason == "length"
    assert harness.core.next_deadline() is None

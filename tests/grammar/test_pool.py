"""The pool against a dictionary, and each of its invariants broken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import InvariantError
from espalier.grammar import MaskPool

WORDS = 2


def _mask(number: int) -> np.ndarray:
    return np.array([number, number >> 3], dtype=np.uint32)


def _pool(budget: int = 0) -> MaskPool:
    return MaskPool(WORDS, _mask(2**30), budget)  # 64 rows at least


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 300), st.none(), st.just("step")), max_size=400))
def test_rows_handed_out_stay_until_the_next_step(events: list[int | str | None]) -> None:
    pool = _pool()
    held: dict[int, int] = {}
    device: dict[int, bytes] = {}
    for event in events:
        if event == "step":
            pool.begin_step()
            held.clear()
        elif event is None:
            for row in pool.drain_dirty():
                device[row] = pool.rows[row].tobytes()
        else:
            row, generation = pool.add(_mask(int(event)))
            assert pool.valid(row, generation)
            held[pool.hand_out(row)] = int(event)
        for row, number in held.items():
            assert (pool.rows[row] == _mask(number)).all()
        pool.check_invariants()
    for row in pool.drain_dirty():
        device[row] = pool.rows[row].tobytes()
    for row, number in held.items():
        assert device[row] == _mask(number).tobytes()
    assert (pool.rows[0] == _mask(2**30)).all()


def test_equal_masks_are_one_row() -> None:
    pool = _pool()
    assert pool.add(_mask(5)) == pool.add(_mask(5))
    assert len(pool) == 2
    assert pool.drain_dirty() == [0, 1]
    assert pool.drain_dirty() == []


def test_the_oldest_rows_go_first() -> None:
    pool = _pool()
    rows = {number: pool.add(_mask(number)) for number in range(1, 64)}
    pool.begin_step()
    pool.begin_step()
    pool.touch(rows[1][0])
    pool.hand_out(rows[2][0])
    for number in range(100, 160):
        pool.add(_mask(number))
    assert pool.valid(*rows[1])
    assert pool.valid(*rows[2])
    assert not pool.valid(*rows[3])
    assert pool.recycled >= 60
    assert pool.used == 64
    pool.check_invariants()


def test_it_grows_rather_than_take_back_a_row() -> None:
    pool = _pool()
    rows = [pool.hand_out(pool.add(_mask(number))[0]) for number in range(1, 200)]
    assert len(set(rows)) == 199
    pool.check_invariants()


def test_it_grows_up_to_its_budget() -> None:
    pool = _pool(budget=WORDS * 4 * 1000)
    for number in range(5000):
        pool.add(_mask(number))
        pool.begin_step()
    assert len(pool.rows) == 1000
    pool.check_invariants()


def test_invariants_are_checked() -> None:
    def fresh() -> MaskPool:
        pool = _pool()
        for number in (1, 2, 3):
            pool.hand_out(pool.add(_mask(number))[0])
        pool.check_invariants()
        return pool

    pool = fresh()
    pool.rows[1] = pool.rows[2]
    with pytest.raises(InvariantError, match=r"^R1"):
        pool.check_invariants()
    pool = fresh()
    pool.rows[1] = _mask(77)
    with pytest.raises(InvariantError, match=r"^R2"):
        pool.check_invariants()
    pool = fresh()
    pool._free.append(0)
    with pytest.raises(InvariantError, match=r"^R3"):
        pool.check_invariants()
    pool = fresh()
    pool._by_content[b"other"] = 9
    with pytest.raises(InvariantError, match=r"^R3"):
        pool.check_invariants()
    pool = fresh()
    pool._handed[1] = b"else"
    with pytest.raises(InvariantError, match=r"^R4"):
        pool.check_invariants()

"""The queue's bound, whatever requests say of themselves."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, strategies as st

from espalier.runtime.server.admission import Admission
from espalier.runtime.server.failures import HTTPError
from espalier.runtime.server.shares import Shares


def test_the_queue_is_bounded() -> None:
    admission = Admission(3)
    with admission.entered("", 2), admission.entered("", 1):
        assert admission.inflight == 3
        with pytest.raises(HTTPError, match="all it takes") as caught, admission.entered(""):
            pass
        assert (caught.value.status, admission.refused) == (429, 1)
    assert admission.inflight == 0


@pytest.mark.parametrize("samples", [-5, 0])
def test_no_request_counts_for_less_than_one(samples: int) -> None:
    admission = Admission(3)
    with admission.entered("", samples):  # to be refused for what it asks
        assert admission.inflight == 1
    assert admission.inflight == 0


@pytest.mark.parametrize("samples", [4, 10**40])
def test_what_could_never_be_in_work_is_not_taken_alone_either(samples: int) -> None:
    admission = Admission(3)
    with (
        pytest.raises(HTTPError, match="at most 3 samples") as caught,
        admission.entered("", samples),
    ):
        pass
    assert (caught.value.status, admission.inflight, admission.refused) == (400, 0, 0)


def test_a_drain_waits_for_those_inside_and_takes_nobody() -> None:
    async def drain() -> None:
        admission = Admission(3)
        with admission.entered(""):
            assert not await admission.drain(0.01)
            with pytest.raises(HTTPError, match="shutting down") as caught, admission.entered(""):
                pass
            assert caught.value.status == 503
        assert await admission.drain(0.01)

    asyncio.run(drain())


def test_no_key_shuts_another_out() -> None:
    admission = Admission(8, keys=2)
    assert admission.most == 6
    with contextlib.ExitStack() as first:
        for _ in range(6):
            first.enter_context(admission.entered("a"))
        with pytest.raises(HTTPError, match="of this key") as caught, admission.entered("a"):
            pass
        assert caught.value.status == 429
        with admission.entered("b"), admission.entered("b"):
            assert admission.inflight == 8
            with pytest.raises(HTTPError), admission.entered("b"):
                pass
    with admission.entered("b", 6), pytest.raises(HTTPError) as caught, admission.entered("b", 7):
        pass
    assert (caught.value.status, admission.inflight) == (400, 0)


@given(
    limit=st.integers(1, 40),
    keys=st.integers(1, 60),
    data=st.data(),
)
def test_shares(limit: int, keys: int, data: st.DataObject) -> None:
    """Whoever has less than its part in work gets in, however the others came and went; and what
    was taken comes back."""
    shares, work = Shares(limit, keys), list[tuple[str, int]]()
    half = limit // 2
    part = half // keys
    for _ in range(data.draw(st.integers(1, 60))):
        if work and data.draw(st.booleans()):
            shares.give(*work.pop(data.draw(st.integers(0, len(work) - 1))))
            continue
        key = str(data.draw(st.integers(0, min(keys, 4) - 1)))
        places = data.draw(st.integers(1, limit))
        mine = sum(count for one, count in work if one == key)
        taken = sum(count for _, count in work)
        assert shares.taken == taken
        let_in = shares.take(key, places)
        if let_in:
            work.append((key, places))
        assert not let_in or (taken + places <= limit and mine + places <= shares.most)
        if mine + places <= part or taken + places <= limit - half:
            assert let_in
        if not work:
            assert places > shares.most
    for one in work:
        shares.give(*one)
    assert (shares.taken, shares._beyond, dict(shares._of)) == (0, 0, {})


def test_more_keys_than_places() -> None:
    """Half of the places are for keys that have nothing in work."""
    shares = Shares(8, keys=100)
    assert sum(shares.take("a", 1) for _ in range(9)) == 5
    assert [shares.take(key, 1) for key in "bcde"] == [True, True, True, False]

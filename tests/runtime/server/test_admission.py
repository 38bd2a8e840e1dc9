"""The queue's bound, whatever requests say of themselves."""

from __future__ import annotations

import asyncio

import pytest

from espalier.runtime.server.admission import Admission
from espalier.runtime.server.failures import HTTPError


def test_the_queue_is_bounded() -> None:
    admission = Admission(3)
    with admission.entered(2), admission.entered(1):
        assert admission.inflight == 3
        with pytest.raises(HTTPError, match="all it takes") as caught, admission.entered():
            pass
        assert (caught.value.status, admission.refused) == (429, 1)
    assert admission.inflight == 0


@pytest.mark.parametrize("samples", [-5, 0])
def test_no_request_counts_for_less_than_one(samples: int) -> None:
    admission = Admission(3)
    with admission.entered(samples):  # to be refused for what it asks
        assert admission.inflight == 1
    assert admission.inflight == 0


@pytest.mark.parametrize("samples", [4, 10**40])
def test_what_could_never_be_in_work_is_not_taken_alone_either(samples: int) -> None:
    admission = Admission(3)
    with pytest.raises(HTTPError, match="at most 3 samples") as caught, admission.entered(samples):
        pass
    assert (caught.value.status, admission.inflight, admission.refused) == (400, 0, 0)


def test_a_drain_waits_for_those_inside_and_takes_nobody() -> None:
    async def drain() -> None:
        admission = Admission(3)
        with admission.entered():
            assert not await admission.drain(0.01)
            with pytest.raises(HTTPError, match="shutting down") as caught, admission.entered():
                pass
            assert caught.value.status == 503
        assert await admission.drain(0.01)

    asyncio.run(drain())

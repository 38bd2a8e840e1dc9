"""A request that takes two calls of the engine is still one request."""

from __future__ import annotations

import time

import pytest

from espalier.runtime.server.jobs import Job
from espalier.runtime.server.stages import Stage
from espalier.types import Result, SamplingParams


@pytest.mark.parametrize(("spent", "left"), [(4.0, 6.0), (20.0, 0.001)])
def test_both_calls_have_one_deadline(spent: float, left: float) -> None:
    job = Job(
        input_ids=[1],
        params=SamplingParams(max_tokens=9),
        stage=Stage(exits={7: Stage}),
        deadline=10.0,
        began=time.monotonic() - spent,
    )
    first = Result(request_id=1, token_ids=[2], generated_tokens=2, matched_stop=7)
    second = job.following(first)
    assert second is not None
    assert second.deadline == pytest.approx(left, abs=0.5 if left > 1 else 0)

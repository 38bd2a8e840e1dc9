"""The sampler of a step by Triton's kernels, interpreted, against torch's operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.runtime import biases, penalties, sampler
from espalier.runtime.model_runner import Masks
from espalier.runtime.plan import Penalties, Plan, SeatParams
from tests.triton_interpreter import interpreted

pytest.importorskip("triton", reason="triton is not installed here")

VOCAB, SEATS = 150, 6

_params = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.7, 1.3]),
        "top_k": st.sampled_from([0, 0, 7]),
        "top_p": st.sampled_from([1.0, 0.8]),
        "min_p": st.sampled_from([0.0, 0.0, 0.1]),
        "bias": st.sampled_from([(), ((3, 2.5), (140, -1.0)), ((7, -float("inf")), (8, 3.0))]),
        "banned": st.sampled_from([(), (5, 9, 9)]),
        "min_tokens": st.sampled_from([0, 4]),
        "penalties": st.booleans(),
    }
)


def _seat(seat: int, drawn: dict[str, Any]) -> SeatParams:
    asked = None
    if drawn["penalties"]:
        asked = Penalties(1.4, 0.3, -0.2, np.array([1, 2, 3]), np.array([4, 4, 9]))
    more = {name: value for name, value in drawn.items() if name != "penalties"}
    return SeatParams(
        seat=seat, seed=seat * 77, index=seat % 2, first=10, logprobs=None, penalties=asked, **more
    )


def _steps(made: sampler.Sampler, params: list[dict[str, Any]]) -> list[Any]:
    """Two steps, the second with a newcomer in a seat and more rows of the pool."""
    rng = np.random.default_rng(1)
    seats = [int(seat) for seat in rng.permutation(SEATS)[: len(params)]]
    found = []
    for number in range(2):
        for seat, drawn in zip(seats, params, strict=True):
            if number == 0 or seat == seats[0]:
                made.sit(_seat(seat, drawn if number == 0 else params[-1]))
        new = [number * 2, number * 2 + 1]
        words = rng.integers(1, 2**32, (2, -(-VOCAB // 32)), dtype=np.uint64).astype(np.uint32)
        masks = Masks(samples=[0], rows=[number * 2], new_rows=new, new_words=words)
        made.update_pool(masks)
        logits = torch.from_numpy(rng.normal(size=(len(params) + 1, VOCAB)) * 3).float()
        kept = logits.clone()
        plan = Plan(
            step=number,
            sample_from=[row + 1 for row in range(len(params))],
            sample_seats=seats,
            sample_positions=[11 + 2 * row for row in range(len(params))],
        )
        out = made.sample(logits, plan, masks, set())
        assert torch.equal(logits, kept)
        found.append([part.tolist() for part in out.parts])
    return found


@given(params=st.lists(_params, min_size=1, max_size=4))
@settings(max_examples=20)
def test_triton_samples_as_torch_does(params: list[dict[str, Any]]) -> None:
    wanted = _steps(sampler.Sampler(SEATS, VOCAB, torch.device("cpu")), params)
    with pytest.MonkeyPatch.context() as patch, interpreted():
        for module in (sampler, penalties, biases):
            patch.setattr(module, "uses_triton", lambda tensor: True)
        found = _steps(sampler.Sampler(SEATS, VOCAB, torch.device("cpu")), params)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours[1:] == theirs[1:]
        tokens = zip(ours[0], theirs[0], theirs[1], strict=True)
        assert all(a == b or tie for a, b, tie in tokens)

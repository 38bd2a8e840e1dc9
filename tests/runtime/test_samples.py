"""The samples of a prompt: one request carries them, one array their prompt, and each is what it
would be alone."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime.engine import Engine
from espalier.runtime.protocol import Submit, frame
from espalier.runtime.request import Request
from espalier.types import Hold, Result, SamplingParams
from tests.cores import Harness

PROMPT = [1, 2, 3, 4]
WILD = SamplingParams(max_tokens=6, temperature=1.0, ignore_eos=True)


def _several(number: int, **more: Any) -> Request:
    further = list(range(number + 1, number + 4))
    return Request(id=number, further=further, prompt=PROMPT, params=WILD, seed=7, **more)


def _apart(request: Request) -> list[Request]:
    """The same samples, each asked for by itself, as other clients may."""
    scored, holds = request.score_from, request.holds
    return [
        msgspec.structs.replace(
            request,
            id=number,
            index=index,
            further=[],
            score_from=scored if index == 0 else None,
            holds=holds if index == 0 else [],
        )
        for index, number in enumerate(request.ids)
    ]


def _ended(requests: list[Request], overlap: bool) -> list[dict[str, Any]]:
    harness = Harness(overlap=overlap)
    for request in requests:
        harness.core.submit(request)
    told = [msgspec.to_builtins(result) for result in harness.run().values()]
    return [one | {"times": None} for one in sorted(told, key=lambda one: one["request_id"])]


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(
    "more", [{}, {"stream": True}, {"score_from": 1}, {"holds": [Hold(key=5, tokens=None)]}]
)
def test_together_is_as_apart(more: dict[str, Any], overlap: bool) -> None:
    request = _several(10, **more)
    together = _ended([request], overlap)
    assert together == _ended(_apart(request), overlap)
    assert [one["index"] for one in together] == [0, 1, 2, 3]
    assert len({tuple(one["token_ids"]) for one in together}) > 1


def test_they_share_their_prompts_array_until_they_write() -> None:
    harness = Harness(max_running=2)
    harness.core.submit(_several(10))
    sequences = [progress.seq for progress in harness.core._live.values()]
    shared = sequences[0].ids
    assert all(seq.ids is shared for seq in sequences)
    while len(harness.results) < 2:
        harness.step()
    assert any(seq.ids is shared for seq in sequences)  # those that wait
    harness.run()
    assert shared.tolist() == PROMPT
    assert not any(np.shares_memory(seq.ids, shared) for seq in sequences)


def test_each_of_a_bad_request_is_refused() -> None:
    harness = Harness()
    harness.core.submit(msgspec.structs.replace(_several(10), prompt=[1, 99]))
    assert sorted(harness.results) == [10, 11, 12, 13]
    assert [result.index for result in harness.results.values()] == [0, 1, 2, 3]
    for result in harness.results.values():
        assert isinstance(result.error, InvalidRequestError)
        assert (result.finish_reason, result.seed) == ("error", 7)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    found: list[Request] = []
    with Engine("null", inline=True) as engine:
        submit = engine.link.submit

        def watched(requests: list[Request]) -> None:
            found.extend(requests)
            submit(requests)

        monkeypatch.setattr(engine.link, "submit", watched)
        prompts = [list(range(2, 5_000)), [3]]
        params = {"n": 8, "max_tokens": 2, "prompt_logprobs": 0}
        _check(engine.generate(input_ids=prompts, sampling_params=params), prompts)
        stream = list(engine.stream(input_ids=[3], sampling_params={"n": 3, "max_tokens": 2}))
        assert sorted(c.index for c in stream if c.result is not None) == [0, 1, 2]
    return found


def _check(results: list[Result], prompts: list[list[int]]) -> None:
    for result, prompt in zip(results, prompts, strict=True):
        samples = result.samples or []
        assert [sample.index for sample in samples] == list(range(8))
        assert all(len(sample.prompt_logprobs or []) == len(prompt) for sample in samples)
        assert len({sample.request_id for sample in samples}) == 8


def test_a_prompt_crosses_once(sent: list[Request]) -> None:
    first, second, streamed = sent
    assert [len(request.ids) for request in sent] == [8, 8, 3]
    assert len({number for request in sent for number in request.ids}) == 19
    alone = msgspec.structs.replace(first, further=[])
    assert len(frame(Submit([first]))) - len(frame(Submit([alone]))) < 100
    assert (first.score_from, second.score_from) == (1, None)  # nothing is before one token
    assert streamed.stream

"""Messages cross the wire whole, however it cuts them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from espalier.errors import EngineDeadError, GrammarError, InvalidRequestError
from espalier.grammar.spec import GrammarSpec
from espalier.runtime.protocol import (
    Call,
    Cancel,
    EngineInfo,
    Failed,
    Frames,
    Outputs,
    Ready,
    Reply,
    Submit,
    frame,
    from_engine,
    salvage,
    to_engine,
)
from espalier.runtime.request import Request
from espalier.types import Chunk, Result, SamplingParams, TokenLogprob

REQUEST = Request(
    id=7,
    prompt=[1, 2**63 - 1],
    params=SamplingParams(stop=["é"], logit_bias={3: -math.inf}, seed=-(2**63)),
    seed=-(2**63),
    index=3,
    grammar=GrammarSpec.regex("a+"),
    namespace="n",
    priority=-1,
    deadline=0.5,
    score_from=1,
    stream=True,
)
RESULT = Result(
    request_id=7,
    text="→",
    matched_stop="é",
    logprobs=[TokenLogprob(1, -0.5, [(1, -0.5), (2, -math.inf)])],
    prompt_logprobs=[None, TokenLogprob(2, -1.0)],
    samples=[Result(request_id=8, matched_stop=4)],
)
TO_ENGINE = [Submit([REQUEST]), Submit([]), Cancel([1, 2]), Call(3, "pin", {"ttl": None})]
FROM_ENGINE = [
    Ready(
        EngineInfo(
            model="null",
            vocab_size=1,
            max_context=2,
            capacity=3,
            page_size=1,
            device="cpu",
            dtype="none",
            seconds={"model": 0.5},
        )
    ),
    Outputs([Chunk(request_id=7, text="x", token_ids=[1]), Chunk(request_id=7, result=RESULT)]),
    Reply(1, value={"a": [1, None]}),
]


def _bodies(data: bytes, cuts: list[int]) -> list[bytes]:
    frames, bodies = Frames(), []
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        bodies += frames.feed(data[start:stop])
    return bodies


@given(data=st.data())
def test_frames_however_they_are_cut(data: st.DataObject) -> None:
    messages = data.draw(st.lists(st.sampled_from(TO_ENGINE), max_size=5))
    wire = b"".join(map(frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=9)))
    assert [to_engine(body) for body in _bodies(wire, cuts)] == messages


@pytest.mark.parametrize("message", FROM_ENGINE)
def test_answers_come_back_equal(message: Any) -> None:
    [body] = _bodies(frame(message), [1, 3])
    assert from_engine(body) == message


def test_errors_keep_their_type_and_parts() -> None:
    error = GrammarError("no", expected="a", got="b", where="$.x", hint="Do")
    sent = Outputs([Chunk(request_id=1, result=Result(request_id=1, error=error))])
    back = from_engine(frame(sent)[4:])
    assert isinstance(back, Outputs)
    result = back.chunks[0].result
    assert result is not None
    assert type(result.error) is GrammarError
    assert result.error.to_wire() == error.to_wire()
    for message in (Failed(error), Reply(1, error=EngineDeadError("x"))):
        again = from_engine(frame(message)[4:])
        assert isinstance(again, Failed | Reply)
        assert again.error is not None
        assert again.error.to_wire() == message.error.to_wire()  # type: ignore[union-attr]


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot send a object"):
        frame(Call(1, "x", {"y": object()}))
    with pytest.raises(msgspec.ValidationError):
        to_engine(msgspec.msgpack.encode({"type": "Bogus"}))
    bad = msgspec.to_builtins(REQUEST) | {"params": {"top_p": 0}}
    with pytest.raises(msgspec.ValidationError, match="top_p"):
        to_engine(msgspec.msgpack.encode({"type": "Submit", "requests": [bad]}))
    assert issubclass(InvalidRequestError, ValueError)


def _body(message: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(message)


def test_what_cannot_be_read_is_answered() -> None:
    good, bad = msgspec.to_builtins(REQUEST), msgspec.to_builtins(REQUEST)
    bad |= {"id": 8, "index": 2, "grammar": {"kind": "regex", "source": "a", "format": "none"}}
    request, answer = salvage(_body({"type": "Submit", "requests": [good, bad]}))
    assert request == REQUEST
    assert isinstance(answer, Chunk)
    assert answer.result is not None
    assert (answer.request_id, answer.index, answer.result.finish_reason) == (8, 2, "error")
    assert isinstance(answer.result.error, InvalidRequestError)
    assert "$.grammar.format" in str(answer.result.error)

    bad["further"] = [9, 11]
    answers = salvage(_body({"type": "Submit", "requests": [bad]}))
    assert [(one.request_id, one.index) for one in answers] == [(8, 2), (9, 3), (11, 4)]  # type: ignore[union-attr]

    [reply] = salvage(_body({"type": "Call", "id": 5, "name": "pin", "args": 3}))
    assert isinstance(reply, Reply)
    assert reply.id == 5
    assert isinstance(reply.error, InvalidRequestError)
    assert salvage(_body({"type": "Cancel", "ids": "x"})) == []
    assert salvage(_body({"type": "Release", "keys": None})) == []


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        _body({"type": "Bogus"}),
        _body({"type": "Submit", "requests": [{"prompt": [1]}]}),
        _body({"type": "Call", "name": "stats"}),
    ],
)
def test_what_names_nobody_cannot_be_answered(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        salvage(body)

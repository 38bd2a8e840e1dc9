"""The scripted backend: which answer goes where, and what it remembers."""

from __future__ import annotations

import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import EngineError, ProgramError
from espalier.frontend_lang.backends.base import Backend
from espalier.frontend_lang.backends.byte_tokenizer import ByteTokenizer
from espalier.types import SamplingParams

State = Any


@esp.function
def two(s: State) -> None:
    s += "1:" + esp.gen("x") + " 2:" + esp.gen("y", stop="!") + esp.select("z", ["p", "q"])


def run(script: Any, **options: Any) -> State:
    return two.run(backend=esp.Scripted(script, **options))


@pytest.mark.parametrize(
    "script",
    [
        {"x": "a", "y": "b!c", "z": "q"},
        {"x": ["a", "unused"], "y": ["b"], "z": ["q"]},
        ["a", "b", "q"],
        lambda asked: {"x": "a", "y": "b", "z": "q"}[asked.name],
        {"x": lambda asked: "a", "y": esp.Reply("b"), "z": {"p": 0.1, "q": 0.9}},
    ],
)
def test_ways_of_scripting(script: Any) -> None:
    state = run(script)
    assert (state["x"], state["y"], state["z"]) == ("a", "b", "q")
    assert state.text() == "1:a 2:bq"


CUTS: list[tuple[dict[str, Any], str, str | int | None]] = [
    ({"stop_regex": "[0-9]+ apples"}, "I have ", "[0-9]+ apples"),
    ({"stop_regex": "z+"}, "I have 12 apples, é!", None),
    ({"stop_token_ids": [ord(",")]}, "I have 12 apples", ord(",")),
    ({"stop_token_ids": [ord(",")], "stop": "app"}, "I have 12 ", "app"),
    ({"stop_token_ids": [ord(",")], "stop": "é"}, "I have 12 apples", ord(",")),
    ({"stop_regex": "[0-9]{2}", "stop": "have 12"}, "I ", "have 12"),
    ({"stop_regex": "[0-9]", "stop": "have 12"}, "I have ", "[0-9]"),
]


@pytest.mark.parametrize(("options", "text", "matched"), CUTS)
def test_every_kind_of_stop_cuts(options: Any, text: str, matched: object) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x", **options)

    state = body.run(backend=esp.Scripted("I have 12 apples, é!"))
    assert state["x"] == text
    assert state.get_meta_info("x")["finish_reason"]["matched"] == matched
    assert state.text() == "a" + text


def test_defaults_and_unnamed_calls() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen() + esp.gen("x") + esp.gen()

    backend = esp.Scripted({None: ["1", "3"], "x": "2"})
    assert body.run(backend=backend).unnamed() == ["1", "3"]
    assert body.run(backend=esp.Scripted(default="d")).text() == "addd"
    assert body.run(backend=esp.Scripted({}, default="d")).text() == "addd"
    assert body.run(backend=esp.Scripted(["1"], default="d")).text() == "a1dd"
    assert body.run(backend=esp.Scripted("all")).unnamed() == ["all", "all"]


@pytest.mark.parametrize("script", [None, {}, {"x": []}, []])
def test_no_answer_is_left(script: Any) -> None:
    with pytest.raises(ProgramError, match=r"no scripted answer is left for gen\('x'\)"):
        run(script)["x"]


@pytest.mark.parametrize("script", [{"x": 3}, lambda asked: 3.5])
def test_answers_that_are_none(script: Any) -> None:
    with pytest.raises(ProgramError, match="a text or a Reply"):
        run(script)["x"]


@pytest.mark.parametrize("answer", ["r", {"p": 1.0}, esp.Reply("r")])
def test_answers_that_are_no_choice(answer: Any) -> None:
    with pytest.raises(ProgramError, match="one of"):
        run({"x": "a", "y": "b", "z": answer})["z"]


def test_scripted_errors() -> None:
    def raises(asked: Any) -> str:
        raise ValueError("odd")

    for script in (EngineError("odd"), raises, {"x": ValueError("odd")}):
        with pytest.raises(ProgramError, match="odd"):
            run(script)["x"]


def test_what_was_asked() -> None:
    backend = esp.Scripted({"x": "a", "y": "b", "z": "q"})
    two.run(backend=backend, temperature=0.5)
    first, second, third = backend.asked
    assert (first.name, first.path, first.index, first.choices) == ("x", (), 0, None)
    assert first.where.startswith(__file__)
    assert first.prompt == "<|bos|>1:"
    assert backend.tokenizer.decode(first.input_ids) == first.prompt
    assert isinstance(first.params, SamplingParams)
    assert (second.index, second.params.stop if second.params else None) == (1, ("!",))
    assert third.choices == ("p", "q")
    assert third.prompt == "<|bos|>1:a 2:b"
    assert backend.prompts() == [asked.prompt for asked in backend.asked]
    assert backend.prompts("y") == ["<|bos|>1:a 2:"]
    assert backend.stats() == {"requests": 3}


def test_a_branchs_requests() -> None:
    @esp.function
    def body(s: State) -> None:
        forks = s.fork(2)
        forks += lambda i: f"{i}" + esp.gen("x")
        forks.join()

    backend = esp.Scripted("a")
    body.run(backend=backend)
    assert [asked.path for asked in backend.asked] == [(0, 0), (0, 1)]


def test_delays() -> None:
    started = time.perf_counter()
    run({"x": esp.Reply("a", delay=0.1), "y": "b", "z": "p"})
    assert 0.1 <= time.perf_counter() - started < 5


def test_finish_reasons() -> None:
    state = run({"x": esp.Reply("a", finish_reason="length"), "y": "b!", "z": "p"})
    assert state.get_meta_info("x")["finish_reason"] == {"type": "length", "matched": None}
    assert state.get_meta_info("y")["finish_reason"] == {"type": "stop", "matched": "!"}
    state = run({"x": esp.Reply("a", finish_reason="abort")})
    with pytest.raises(ProgramError, match="aborted"):
        state["x"]


def test_pins_and_the_protocol() -> None:
    backend = esp.Scripted("x")
    assert isinstance(backend, Backend)
    number = backend.pin([1, 2], "", None)
    assert backend.pins == {number: [1, 2]}
    backend.unpin(number)
    assert backend.pins == {}


def test_pieces_of_a_stream_never_split_a_character() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x")

    state = body.run(backend=esp.Scripted("né🙂你好!", chunk=2), stream=True)
    assert list(state.text_iter("x")) == ["né", "🙂你", "好!"]


def test_the_byte_tokenizer() -> None:
    tokenizer = ByteTokenizer()
    text = "<|user|>né🙂<|end|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text, allow_special=True)[0] == 259
    assert tokenizer.encode("a", add_bos=True) == [256, 97]
    with pytest.raises(esp.InvalidRequestError, match="system, user or assistant"):
        tokenizer.render_chat([{"role": "tool", "content": ""}])

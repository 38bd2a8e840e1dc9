"""Reasoning told from the answer: the split itself, and in programs, streamed and not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

import espalier as esp
from espalier.errors import EngineError, InvalidRequestError, NotSupportedError, ProgramError
from espalier.frontend_lang.reasoning import FORMATS, Splitter, answer_tokens, split
from tests.frontend_lang import machines

State = Any


@pytest.mark.parametrize(
    ("kind", "text", "reasoning", "answer"),
    [
        ("qwen3", "<think>a</think>b", "a", "b"),
        ("qwen3", "plain", "", "plain"),
        ("qwen3", "<think>a", "a", ""),
        ("qwen3", "<think>a<tool_call>{}", "a", "<tool_call>{}"),
        ("qwen3", "<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("qwen3", "a</think>b", "", "a</think>b"),
        ("deepseek-r1", "a</think>b", "a", "b"),
        ("deepseek-r1", "<think>a</think>b", "a", "b"),
        ("deepseek-r1", "<thin", "<thin", ""),
        ("Kimi", "◁think▷a◁/think▷b", "a", "b"),
        ("mistral", "x[THINK]a[/THINK]b", "a", "xb"),
        ("kimi_k2", "<think>a<|tool_calls_section_begin|>b", "a", "<|tool_calls_section_begin|>b"),
    ],
)
def test_split(kind: str, text: str, reasoning: str, answer: str) -> None:
    assert split(FORMATS[kind.lower()], text) == (reasoning, answer)


PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<tool_call>", "<", "th", "a", "\n"]))


@given(PIECES, st.sampled_from(sorted(FORMATS)), st.lists(st.integers(1, 5)))
def test_how_a_text_is_cut_changes_nothing(pieces: list[str], kind: str, cuts: list[int]) -> None:
    form = FORMATS[kind]
    tags = {"<think>": form.start, "</think>": form.end, "<tool_call>": form.tool or "<tool_call>"}
    text = "".join(tags.get(piece, piece) for piece in pieces)
    splitter = Splitter(form)
    parts, at = [], 0
    for cut in cuts:
        parts += splitter.feed(text[at : at + cut])
        at += cut
    parts += [*splitter.feed(text[at:]), *splitter.finish()]
    joined = tuple("".join(p.text for p in parts if p.kind == k) for k in ("reasoning", "answer"))
    assert joined == split(form, text)
    assert all(part.text for part in parts)


def test_sampled_tokens_of_the_answer_are_kept() -> None:
    tokenizer = machines.byte_level()
    ids = [*tokenizer.encode("why</think>"), *tokenizer.encode("because"), *tokenizer.encode(" so")]
    assert (
        answer_tokens(tokenizer, ids, "because so") == ids[len(tokenizer.encode("why</think>")) :]
    )
    assert answer_tokens(tokenizer, ids, "") == []
    assert answer_tokens(tokenizer, tokenizer.encode("abc"), "bcd") is None


@esp.function
def think(s: State) -> None:
    s += esp.user("Why?")
    s += esp.assistant(esp.separate_reasoning(esp.gen("x"), model_type="qwen3"))
    s += esp.user("And?") + esp.assistant(esp.gen("y"))


SCRIPT = {"x": "<think>let me see</think>because", "y": "so"}


def test_a_program_goes_on_with_the_answer() -> None:
    backend = esp.Scripted(SCRIPT)
    state = think.run(backend=backend)
    assert (state["x"], state["x_reasoning_content"]) == ("because", "let me see")
    assert "let me see" not in state.text()
    assert "because" in backend.prompts("y")[0]
    assert "let me see" not in backend.prompts("y")[0]
    assert state.messages()[1] == {"role": "assistant", "content": "because"}
    assert state.get_meta_info("x")["text"] == SCRIPT["x"]
    assert state.report().totals()["lost_tokens"] > 0
    state._interpreter.check_invariants()


def test_while_it_streams() -> None:
    for chunk in (1, 4, 100):
        backend = esp.Scripted(SCRIPT, chunk=chunk)
        state = think.run(backend=backend, stream=True)
        assert "".join(state.text_iter("x")) == "because"
        assert "".join(state.text_iter("x_reasoning_content")) == "let me see"
        whole = "".join(state.text_iter())
        assert whole == state.text()
        assert "let me see" not in whole


def test_samples() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "Q:" + esp.separate_reasoning(esp.gen("x", n=2), "deepseek-r1")

    answers = iter(["a</think>1", "b</think>2"])
    state = body.run(backend=esp.Scripted({"x": lambda _asked: next(answers)}))
    assert state["x"] == ["1", "2"]
    assert state["x_reasoning_content"] == ["a", "b"]


def test_a_failure_is_both_variables() -> None:
    state = think.run(backend=esp.Scripted({"x": EngineError("gone")}, default=""))
    for name in ("x", "x_reasoning_content"):
        with pytest.raises(ProgramError, match="gone"):
            state[name]


def test_both_names_must_be_free() -> None:
    @esp.function
    def body(s: State) -> None:
        s["x_reasoning_content"] = "taken"
        s += esp.separate_reasoning(esp.gen("x"), "qwen3")

    with pytest.raises(esp.VariableError, match="x_reasoning_content"):
        body.run(backend=esp.Scripted(default="a"))


def test_what_cannot_be() -> None:
    with pytest.raises(InvalidRequestError, match="model type by name"):
        esp.separate_reasoning(esp.gen("x"))
    with pytest.raises(NotSupportedError, match="gpt-oss"):
        esp.separate_reasoning(esp.gen("x"), "gpt-oss")
    with pytest.raises(InvalidRequestError, match="a gen with a name"):
        esp.separate_reasoning(esp.gen(), "qwen3")
    with pytest.raises(InvalidRequestError, match="no type, grammar or healing"):
        esp.separate_reasoning(esp.gen("x", int), "qwen3")
    with pytest.raises(InvalidRequestError, match="no reasoning to separate"):
        esp.separate_reasoning(esp.select("x", ["a", "b"]), "qwen3")
    with pytest.raises(InvalidRequestError, match="an expression"):
        esp.separate_reasoning(model_type="qwen3")

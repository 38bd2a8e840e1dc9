"""Token healing: a gen may finish the token that the text before it began."""

from __future__ import annotations

from typing import Any

import pytest

import espalier as esp
from espalier.errors import InvalidRequestError
from espalier.frontend_lang.healing import may_heal
from tests.frontend_lang import machines

State = Any
SENTENCE = "The quick brown fox jumps over the lazy dog"


def ask(engine: Any, prompt: str, **options: Any) -> State:
    @esp.function
    def body(s: State) -> None:
        s += prompt + esp.gen("x", heal=True, **options) + " and on"

    return body.run(backend=engine, seed=1)


def test_the_longer_token_is_found(engine: esp.Engine) -> None:
    tokenizer = machines.byte_level()
    whole = tokenizer.encode(SENTENCE, add_bos=True)
    healed = 0
    for cut in range(5, len(SENTENCE) - 1):
        prompt = SENTENCE[:cut]
        plain = tokenizer.encode(prompt, add_bos=True)
        bias = dict.fromkeys(whole, 60.0)
        state = ask(engine, prompt, regex="[a-z ]{1,3}", logit_bias=bias, max_tokens=6)
        ids = state.token_ids()
        assert b"".join(tokenizer.token_bytes(t) for t in ids[1:]).decode() == state.text()
        assert state.text() == prompt + state["x"] + " and on"
        assert 1 <= len(state["x"]) <= 3
        healed += ids[: len(plain)] != plain
        state._interpreter.check_invariants()
    assert healed > 3  # some last tokens became longer ones


def test_it_is_the_engines_answer_behind_the_token_before(engine: esp.Engine) -> None:
    tokenizer = machines.byte_level()
    prompt = "The qu"
    ids = tokenizer.encode(prompt, add_bos=True)
    last = tokenizer.token_bytes(ids[-1]).decode()
    state = ask(engine, prompt, max_tokens=6, ignore_eos=True)
    assert state["x"] != ""
    from espalier.grammar import terms

    grammar = terms.grammar(terms.sequence(last, terms.regex(r"(.|\n)*")))
    params = esp.SamplingParams(max_tokens=7, ignore_eos=True)
    [direct] = engine.generate(input_ids=[ids[:-1]], sampling_params=params, grammar=grammar)
    assert state["x"] == direct.text.removeprefix(last)
    assert state.get_meta_info("x")["token_ids"] == direct.token_ids


def test_while_it_streams(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "The qu" + esp.gen("x", 12, heal=True, ignore_eos=True)

    state = body.run(backend=engine, stream=True)
    assert "".join(state.text_iter("x")) == state["x"]
    assert "".join(state.text_iter()) == state.text()


def test_where_nothing_is_healed(engine: esp.Engine) -> None:
    scripted = esp.Scripted("c")  # its tokens are bytes: none is longer
    assert ask(scripted, "ab")["x"] == "c"
    assert scripted.asked[0].grammar is None

    @esp.function
    def body(s: State) -> None:
        s += "The quick" + esp.gen("x", 3, ignore_eos=True)
        s += esp.gen("y", 3, heal=True, ignore_eos=True)

    state = body.run(backend=engine)
    assert state.error() is None
    params = esp.SamplingParams(stop=("://", "\n"))
    assert may_heal("http", params)
    assert not may_heal("http:", params)
    assert not may_heal("a\nb", params)
    assert not may_heal("a", esp.SamplingParams(stop_regex="[0-9]"))


def test_samples_and_stops(engine: esp.Engine) -> None:
    state = ask(engine, "The qu", n=2, max_tokens=5, ignore_eos=True, temperature=1.0)
    assert len(state["x"]) == 2
    assert state.text().startswith("The qu" + state["x"][0])
    state = ask(engine, "The qu", max_tokens=40, ignore_eos=True, stop=["e", "a", "o"])
    assert not set("eao") & set(state["x"])
    state._interpreter.check_invariants()


def test_what_cannot_be() -> None:
    for options in ({"json_schema": {}}, {"dtype": int}, {"ebnf": "root ::= 'a'"}):
        with pytest.raises(InvalidRequestError, match="heal=True"):
            esp.gen("x", heal=True, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="takes no heal"):
        esp.gen("x", choices=["a"], heal=True)

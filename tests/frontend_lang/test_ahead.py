"""API speculative execution: several gens from one request, and never another text than without."""

from __future__ import annotations

from typing import Any

import pytest

import espalier as esp
from espalier.errors import InvalidRequestError, NotSupportedError

State = Any
STORY = " Ada.\nBirthday: May 5.\nJob: clerk.\nEnd"


def told(asked: Any) -> str:
    """The model that knows STORY: it goes on from wherever the prompt stands in it."""
    said = asked.prompt.rpartition("Name:")[2]
    assert STORY.startswith(said), said
    return STORY[len(said) :]


def body(s: State, second: str = "\nBirthday:") -> None:
    s += "Name:" + esp.gen("name", stop="\n") + second + esp.gen("birthday", stop="\n")
    s += "\nJob:" + esp.gen("job", stop="\n") + "\n"


ahead = esp.function(num_api_spec_tokens=64)(body)
plain = esp.function(body)


def test_one_request_answers_all() -> None:
    backend, other = esp.Scripted(told), esp.Scripted(told)
    state, without = ahead.run(backend=backend), plain.run(backend=other)
    assert (len(backend.asked), len(other.asked)) == (1, 3)
    assert state.text() == without.text()
    for name in ("name", "birthday", "job"):
        assert state[name] == without[name]
        assert state.get_meta_info(name)["finish_reason"] == {"type": "stop", "matched": "\n"}
    totals, spent = state.report().totals(), without.report().totals()
    assert totals["prompt"] < spent["prompt"]
    assert totals["calls"] == 3
    state._interpreter.check_invariants()


def test_other_text_than_guessed_asks_again() -> None:
    def answer(asked: Any) -> str:
        return STORY if asked.name == "name" else " 1900\nJob: none\n"

    backend = esp.Scripted(answer)
    state = ahead.run(second="\nBorn:", backend=backend)
    assert [asked.name for asked in backend.asked] == ["name", "birthday"]
    assert (state["birthday"], state["job"]) == (" 1900", " none")


def test_what_is_not_written_far_enough_is_asked_again() -> None:
    def answer(asked: Any) -> esp.Reply:
        text = told(asked)
        return esp.Reply(text[:12], finish_reason="length")

    backend = esp.Scripted(answer)
    state = ahead.run(backend=backend)
    assert state.text() == plain.run(backend=esp.Scripted(told)).text()
    assert len(backend.asked) > 1


def test_tokens_of_a_gen_are_bounded() -> None:
    @esp.function(num_api_spec_tokens=64)
    def short(s: State) -> None:
        s += "Name:" + esp.gen("a", max_tokens=3) + esp.gen("b", max_tokens=4)

    backend = esp.Scripted(told)
    state = short.run(backend=backend)
    assert (state["a"], state["b"]) == (STORY[:3], STORY[3:7])
    assert state.get_meta_info("b")["finish_reason"]["type"] == "length"
    assert len(backend.asked) == 1


def test_only_what_stop_strings_end() -> None:
    @esp.function(num_api_spec_tokens=64)
    def typed(s: State) -> None:
        s += "n=" + esp.gen("n", int) + " m=" + esp.gen("m", stop=".")

    backend = esp.Scripted({"n": "12", "m": "3. n=4"})
    state = typed.run(backend=backend)
    assert (state["n"], state["m"]) == (12, "3")
    assert [asked.name for asked in backend.asked] == ["n", "m"]


def test_a_choice_and_a_role_drop_what_was_written() -> None:
    @esp.function(num_api_spec_tokens=64)
    def chosen(s: State) -> None:
        s += "a:" + esp.gen("a", stop=".") + esp.select("b", [".x", ".y"])
        s += esp.gen("c", stop=".") + esp.user("hi") + esp.assistant(esp.gen("d", stop="."))

    backend = esp.Scripted({"a": "1.x2.", "b": ".y", "c": "3.", "d": "4."})
    state = chosen.run(backend=backend)
    assert [state[name] for name in "abcd"] == ["1", ".y", "3", "4"]


def test_options() -> None:
    assert ahead.bind(second="x").num_api_spec_tokens == 64
    assert ahead.using(temperature=0.5).num_api_spec_tokens == 64
    for wrong in (0, True, "8"):
        with pytest.raises(InvalidRequestError, match="num_api_spec_tokens"):
            esp.function(num_api_spec_tokens=wrong)  # type: ignore[call-overload]
    with pytest.raises(NotSupportedError, match="does not stream"):
        ahead.run(backend=esp.Scripted(told), stream=True)


def test_a_gen_that_asks_for_other_sampling_asks_for_itself() -> None:
    backend = esp.Scripted(["one\ntwo\nthree\nfour\n", "other\n", "seeded\n"])

    @esp.function(num_api_spec_tokens=20)
    def lines(s: State) -> None:
        s += "Q:" + esp.gen("a", stop="\n") + "\n" + esp.gen("b", stop="\n") + "\n"
        s += esp.gen("c", stop="\n", temperature=1.5) + "\n"
        s += esp.gen("d", stop="\n", temperature=1.5, seed=7)

    state = lines.run(backend=backend)
    assert [state[name] for name in "abcd"] == ["one", "two", "other", "seeded"]
    assert [asked.params.temperature for asked in backend.asked if asked.params] == [0, 1.5, 1.5]
    told = [state.get_meta_info(name)["seed"] for name in "abcd"]
    assert told[0] == told[1]  # the one it was written with
    assert told[3] == 7

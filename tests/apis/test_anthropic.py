"""Anthropic's API as a backend: what is sent, what comes back, what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import espalier as esp
from espalier.errors import APIError, NotSupportedError, ProgramError

State = Any


@dataclass
class Person:
    name: str
    age: int


def one(begun: str = "", **options: Any) -> Any:
    def body(s: State) -> None:
        s += esp.system("Be brief.") + esp.user("Who?")
        s += esp.assistant(begun + esp.gen("a", **options))

    return esp.function(body)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_message(streamed: bool, fake: Any, anthropic_on: Any) -> None:
    api = fake(lambda prompt: "Ada went home.")
    state = one().run(backend=anthropic_on(api), stream=streamed)
    assert state["a"] == "Ada went home."
    body = {key: value for key, value in api.bodies[0].items() if key != "stream"}
    assert body == {
        "model": "fake",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Who?"}],
        "max_tokens": 128,
        "temperature": 0.0,
    }
    if streamed:
        assert list(state.text_iter("a")) == ["Ada", " went", " home", "."]
    (call,) = state.report().calls()
    assert (call.prompt, call.generated, call.requests) == (12, 4, 1)


def test_tokens_are_counted_as_billed(fake: Any, anthropic_on: Any) -> None:
    backend = anthropic_on(fake(lambda prompt: "Ada."))
    first, second = (next(one().run(backend=backend).report().calls()) for _ in range(2))
    assert (first.prompt, first.cached, second.prompt, second.cached) == (12, 0, 12, 12)
    assert backend.stats() == {"prompt": 24, "cached": 12, "generated": 4, "requests": 2}


def test_it_goes_on_with_a_message(fake: Any, anthropic_on: Any) -> None:
    api = fake(lambda prompt: " Ada." if prompt.endswith("assistant: Name:") else "?")
    assert one("Name:").run(backend=anthropic_on(api))["a"] == " Ada."
    assert api.bodies[0]["messages"][-1] == {"role": "assistant", "content": "Name:"}
    error = one("Name:").run(backend=anthropic_on(api, continues=False)).error()
    assert "num_api_spec_tokens" in str(error)
    assert len(api.seen) == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_stop_strings(streamed: bool, fake: Any, anthropic_on: Any) -> None:
    api = fake(lambda prompt: "Ada.\nBob.\n\nEnd")
    state = one(stop=["End"]).run(backend=anthropic_on(api), stream=streamed)
    assert state["a"] == "Ada.\nBob.\n\n"
    assert state.get_meta_info("a")["finish_reason"] == {"type": "stop", "matched": "End"}
    state = one(stop=["\n\n", "End"]).run(backend=anthropic_on(api), stream=streamed)
    assert state["a"] == "Ada.\nBob."
    assert state.get_meta_info("a")["finish_reason"] == {"type": "stop", "matched": "\n\n"}
    assert "stop_sequences" not in api.bodies[1]  # blanks alone are refused by the API
    (call,) = state.report().calls()
    assert 0 < call.generated <= 6


def test_samples_are_requests(fake: Any, anthropic_on: Any) -> None:
    answers = iter(["One.", "Two.", "Three."])
    state = one(n=3).run(backend=anthropic_on(fake(lambda prompt: next(answers))))
    assert sorted(state["a"]) == ["One.", "Three.", "Two."]
    (call,) = state.report().calls()
    assert (call.requests, call.generated) == (3, 6)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_type_is_a_schema(streamed: bool, fake: Any, anthropic_on: Any) -> None:
    api = fake(lambda prompt: '{ "name": "Ada", "age": 36 }')
    state = one(dtype=Person).run(backend=anthropic_on(api), stream=streamed)
    assert state["a"] == Person("Ada", 36)
    assert api.bodies[0]["output_config"]["format"]["type"] == "json_schema"
    api.world.model = lambda prompt: '{"value": 7}'
    assert one(dtype=int).run(backend=anthropic_on(api), stream=streamed)["a"] == 7


def test_sampling_parameters(fake: Any, anthropic_on: Any) -> None:
    api = fake()
    one(temperature=1.0, top_p=0.5, top_k=3).run(backend=anthropic_on(api))
    assert "temperature" not in api.bodies[0]  # newer models take none
    assert (api.bodies[0]["top_p"], api.bodies[0]["top_k"]) == (0.5, 3)


@pytest.mark.parametrize(
    "option",
    [
        {"seed": 3},
        {"logprobs": 0},
        {"min_p": 0.1},
        {"presence_penalty": 0.1},
        {"logit_bias": {3: 1.0}},
        {"stop_regex": "a+"},
    ],
)
def test_what_the_api_has_no_word_for_is_refused(
    option: dict[str, Any], fake: Any, anthropic_on: Any
) -> None:
    api = fake()
    (name,) = option
    state = one(**option).run(backend=anthropic_on(api))
    with pytest.raises(ProgramError, match=f"has no {name}") as failure:
        state["a"]
    assert isinstance(failure.value.__cause__, NotSupportedError)
    assert api.seen == []


def test_more_is_refused(fake: Any, anthropic_on: Any) -> None:
    api = fake()
    backend = anthropic_on(api)
    assert "takes no grammar" in str(one(regex="a").run(backend=backend).error())
    unbounded = one().run(backend=backend, sampling_params=esp.SamplingParams(max_tokens=None))
    assert "max_tokens" in str(unbounded.error())

    @esp.function
    def late_system(s: State) -> None:
        s += esp.user("Who?") + esp.system("Be brief.") + esp.assistant(esp.gen("a"))

    @esp.function
    def choose(s: State) -> None:
        s += esp.user("Which?") + esp.assistant(esp.select("x", ["a", "b"]))

    assert "beginning alone" in str(late_system.run(backend=backend).error())
    assert "cannot select" in str(choose.run(backend=backend).error())
    assert api.seen == []


def test_an_answer_that_ended_early(fake: Any, anthropic_on: Any) -> None:
    from tests.apis.fake_api import Fault

    body = '{"id":"m","type":"message","role":"assistant","model":"fake","content":[],'
    body += (
        '"stop_reason":"refusal","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":0}}'
    )
    error = one().run(backend=anthropic_on(fake(faults=[Fault(body=body)]))).error()
    assert error is not None
    assert isinstance(error.__cause__, APIError)
    assert "refusal" in str(error)

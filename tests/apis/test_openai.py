"""OpenAI's API as a backend: what is sent, what comes back, what is refused."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import pytest

import espalier as esp
from espalier.errors import APIError, InvalidRequestError, NotSupportedError, ProgramError
from tests.apis.fake_answers import pieces

State = Any


@dataclass
class Person:
    name: str
    age: int


def chat(**options: Any) -> Any:
    def body(s: State) -> None:
        s += esp.system("Be brief.") + esp.user("Who?") + esp.assistant(esp.gen("a", **options))
        s += esp.user("And?") + esp.assistant(esp.gen("b"))

    return esp.function(body)


def one(**options: Any) -> Any:
    """A chat of one call."""

    def body(s: State) -> None:
        s += esp.user("Who?") + esp.assistant(esp.gen("a", **options))

    return esp.function(body)


def text(**options: Any) -> Any:
    def body(s: State) -> None:
        s += "Name:" + esp.gen("a", **options) + "!"

    return esp.function(body)


def test_a_chat_is_messages(fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: "Ada." if prompt.count("user") == 1 else "Bob.")
    state = chat().run(backend=openai_on(api))
    assert (state["a"], state["b"]) == ("Ada.", "Bob.")
    assert api.bodies[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ada."},
        {"role": "user", "content": "And?"},
    ]
    assert api.bodies[0] == {
        "model": "fake",
        "messages": api.bodies[1]["messages"][:2],
        "max_tokens": 128,
        "temperature": 0.0,
        "seed": state.get_meta_info("a")["seed"],
    }
    assert [m["content"] for m in state.messages()] == ["Be brief.", "Who?", "Ada.", "And?", "Bob."]


def test_tokens_are_counted_as_billed(fake: Any, openai_on: Any) -> None:
    backend = openai_on(fake(lambda prompt: "Ada went."))
    report = chat().run(backend=backend).report()
    first, second = report.calls()
    assert (first.cached, first.generated, first.requests) == (0, 3, 1)
    assert second.cached == first.prompt - 1  # what it was asked before, but for the last token
    assert second.computed == second.prompt - second.cached
    totals = report.totals()
    assert totals["requests"] == 2
    spent = backend.stats()
    assert (spent["prompt"], spent["cached"]) == (totals["prompt"], totals["cached"])
    assert (spent["generated"], spent["requests"]) == (totals["generated"], 2)


def test_a_completion_is_text(fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: " Ada.\nMore")
    state = text(stop="\n", max_tokens=9).run(backend=openai_on(api, is_chat_model=False))
    assert state.text() == "Name: Ada.!"
    assert api.seen[0].path == "/v1/completions"
    assert (api.bodies[0]["prompt"], api.bodies[0]["stop"]) == ("Name:", ["\n"])
    assert api.bodies[0]["max_tokens"] == 9


def test_which_models_complete() -> None:
    assert not esp.OpenAI("gpt-3.5-turbo-instruct", api_key="x").is_chat_model
    assert esp.OpenAI("gpt-4o", api_key="x").is_chat_model
    assert not esp.OpenAI("gpt-4o", False, api_key="x").is_chat_model


def test_openais_own_chats_have_their_name_for_max_tokens() -> None:
    backend = esp.OpenAI("gpt-4o", api_key="x")
    assert backend._limit() == "max_completion_tokens"
    assert esp.OpenAI("m", api_key="x", base_url="http://localhost:1/v1")._limit() == "max_tokens"


def test_sampling_parameters(fake: Any, openai_on: Any) -> None:
    api = fake()
    given = {"temperature": 1.0, "top_p": 0.5, "presence_penalty": 0.1, "frequency_penalty": 0.2}
    one(**given, seed=7, logit_bias={5: -math.inf}, max_tokens=3).run(backend=openai_on(api))
    body = api.bodies[0]
    assert "temperature" not in body  # the API's own default
    assert (body["top_p"], body["presence_penalty"], body["frequency_penalty"]) == (0.5, 0.1, 0.2)
    assert (body["seed"], body["logit_bias"], body["max_tokens"]) == (7, {"5": -100.0}, 3)


@pytest.mark.parametrize(
    "option",
    [
        {"top_k": 4},
        {"min_p": 0.1},
        {"min_tokens": 2},
        {"repetition_penalty": 1.1},
        {"ignore_eos": True},
        {"stop_token_ids": [3]},
        {"stop_regex": "a+"},
        {"prompt_logprobs": 0},
        {"deterministic": True},
    ],
)
def test_what_the_api_has_no_word_for_is_refused(
    option: dict[str, Any], fake: Any, openai_on: Any
) -> None:
    api = fake()
    (name,) = option
    state = one(**option).run(backend=openai_on(api))
    with pytest.raises(ProgramError, match=f"has no {name}") as failure:
        state["a"]
    assert isinstance(failure.value.__cause__, NotSupportedError)
    assert api.seen == []


def test_more_is_refused(fake: Any, openai_on: Any) -> None:
    api = fake()
    backend = openai_on(api)
    for option in ({"namespace": "n"}, {"priority": 3}):
        assert "has no " in str(one().run(backend=backend, **option).error())
    for constraint in ({"regex": "a"}, {"ebnf": 'start: "a"'}):
        assert "takes no grammar" in str(one(**constraint).run(backend=backend).error())
    assert "own tokens" in str(one(heal=True).run(backend=backend).error())
    completes = openai_on(api, is_chat_model=False)
    assert "no grammar" in str(text(json_schema={}).run(backend=completes).error())
    assert "no chat template" in str(one().run(backend=completes).error())
    unbounded = text().run(backend=completes, sampling_params=esp.SamplingParams(max_tokens=None))
    assert "max_tokens" in str(unbounded.error())
    with pytest.raises(NotSupportedError, match="pins no"):
        backend.pin([1], "", None)
    with pytest.raises(NotSupportedError, match="flushes"):
        backend.flush_cache()
    assert api.seen == []


def test_extensions(fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: "abc", extensions=True)
    backend = openai_on(api, extensions="vllm")
    given = {"top_k": 4, "min_p": 0.1, "stop_token_ids": [3], "stop": [*"defghi"]}
    state = one(**given, regex="[a-c]+").run(backend=backend)
    assert state["a"] == "abc"
    body = api.bodies[0]
    assert (body["top_k"], body["min_p"], body["stop_token_ids"]) == (4, 0.1, [3])
    assert body["structured_outputs"] == {"regex": "[a-c]+"}
    assert len(body["stop"]) == 6


@pytest.mark.parametrize("streamed", [False, True])
def test_a_type_is_a_schema(streamed: bool, fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: '{\n  "name": "Ada",\n  "age": 36\n}')
    state = one(dtype=Person).run(backend=openai_on(api), stream=streamed)
    assert state["a"] == Person("Ada", 36)
    told = api.bodies[0]["response_format"]
    assert told["type"] == "json_schema"
    assert told["json_schema"]["strict"]
    assert told["json_schema"]["schema"]["required"] == ["name", "age"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_value_that_is_no_object_is_asked_for_inside_one(
    streamed: bool, fake: Any, openai_on: Any
) -> None:
    api = fake(lambda prompt: '{"value": "b"}')
    state = one(dtype=Literal["a", "b"]).run(backend=openai_on(api), stream=streamed)
    assert state["a"] == "b"
    assert state.messages()[-1]["content"] == '"b"'
    schema = api.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"value": {"type": ["string"], "enum": ["a", "b"]}}
    people = '{"value": [{"name": "Ada", "age": 3}]}'
    api.world.model = lambda prompt: people
    assert one(dtype=list[Person]).run(backend=openai_on(api))["a"] == [Person("Ada", 3)]
    assert "Person" in api.bodies[1]["response_format"]["json_schema"]["schema"]["$defs"]


def test_an_optional_property_is_not_for_strict_mode(fake: Any, openai_on: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    api = fake(lambda prompt: "{}")
    assert one(json_schema=schema).run(backend=openai_on(api))["a"] == "{}"
    assert not api.bodies[0]["response_format"]["json_schema"]["strict"]


def test_an_answer_outside_of_the_schema_is_an_error(fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: '{"name": 3}')
    error = one(dtype=Person).run(backend=openai_on(api)).error()
    assert error is not None
    assert isinstance(error.__cause__, APIError)
    assert "does not allow" in str(error)


def test_a_value_that_was_cut(fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: '{"name": "Ada", "age": 36}')
    state = one(dtype=Person, max_tokens=4).run(backend=openai_on(api))
    with pytest.raises(esp.IncompleteError, match="length"):
        state["a"]
    api.world.model = lambda prompt: '{"value": [1, 2, 3]}'
    state = one(dtype=list[int], max_tokens=9).run(backend=openai_on(api))
    with pytest.raises(esp.IncompleteError, match="length") as cut:
        state["a"]
    assert cut.value.text == "[1, 2"


@pytest.mark.parametrize("is_chat", [True, False])
def test_samples(is_chat: bool, fake: Any, openai_on: Any) -> None:
    answers = iter(["One.", "Two.", "Three."])
    api = fake(lambda prompt: next(answers))
    program = one(n=3) if is_chat else text(n=3)
    state = program.run(backend=openai_on(api, is_chat_model=is_chat))
    assert state["a"] == ["One.", "Two.", "Three."]
    assert (len(api.seen), api.bodies[0]["n"]) == (1, 3)
    (call,) = state.report().calls()
    assert (call.generated, call.requests) == (6, 1)


@pytest.mark.parametrize("is_chat", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
def test_logprobs(is_chat: bool, streamed: bool, fake: Any, openai_on: Any) -> None:
    said = " Zoë went."
    api = fake(lambda prompt: said, logprob=lambda before, token: -len(token) / 2)
    make = one if is_chat else text
    program = make(logprobs=2, return_text_in_logprobs=True)
    state = program.run(backend=openai_on(api, is_chat_model=is_chat), stream=streamed)
    meta = state.get_meta_info("a")
    entries = meta["output_token_logprobs"]
    assert [(logprob, spelled) for logprob, _, spelled in entries] == [
        (-len(token) / 2, token) for token in pieces(said)
    ]
    assert [len(top) for top in meta["output_top_logprobs"]] == [2] * len(entries)
    assert len(meta["token_ids"]) == len(entries)
    page = state.report().html()
    assert "Zoë" in page


@pytest.mark.parametrize("is_chat", [True, False])
def test_streaming(is_chat: bool, fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: "Ada went home.")
    program = one() if is_chat else text()
    backend = openai_on(api, is_chat_model=is_chat)
    state = program.run(backend=backend, stream=True)
    assert list(state.text_iter("a")) == ["Ada", " went", " home", "."]
    assert state.get_meta_info("a")["completion_tokens"] == 4
    assert api.bodies[0]["stream_options"] == {"include_usage": True}
    assert backend.stats()["generated"] == 4


@pytest.mark.parametrize("streamed", [True, False])
def test_more_stop_strings_than_the_api_takes(streamed: bool, fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: "It is a long, long way. The End")
    program = one(stop=[*"vwxyz", "way", "long"], max_tokens=50)
    state = program.run(backend=openai_on(api), stream=streamed)
    assert state["a"] == "It is a "
    assert state.get_meta_info("a")["finish_reason"] == {"type": "stop", "matched": "long"}
    assert "stop" not in api.bodies[0]
    assert (
        one(stop=[*"vwxyz", "way"], n=2).run(backend=openai_on(api))["a"]
        == ["It is a long, long "] * 2
    )
    assert api.bodies[-1]["seed"] != api.bodies[-2]["seed"]


def test_select_by_the_logprobs_of_a_completion(fake: Any, openai_on: Any) -> None:
    def logprob(before: str, token: str) -> float:
        return {" good": -0.1, " bad": -2.5, " very": -0.7}.get(token, -1.0)

    @esp.function
    def judge(s: State) -> None:
        s += "It is" + esp.select("mood", [" good", " bad", " very bad"]) + "."

    api = fake(logprob=logprob)
    state = judge.run(backend=openai_on(api, is_chat_model=False))
    assert state["mood"] == " good"
    meta = state.get_meta_info("mood")
    assert meta["logprobs"] == pytest.approx({" good": -1.1, " bad": -3.5, " very bad": -4.2})
    assert [len(row) for row in meta["input_token_logprobs"]] == [
        2,
        2,
        3,
    ]  # the last word before them too
    (body,) = api.bodies
    assert body["prompt"] == ["It is good", "It is bad", "It is very bad"]
    (call,) = state.report().calls()
    assert (call.requests, call.prompt) == (1, 10)


def test_selects_that_are_refused(fake: Any, openai_on: Any) -> None:
    api = fake()

    def choose(choices: list[str], before: str = "It is", **options: Any) -> Any:
        def body(s: State) -> None:
            s += before + esp.select("x", choices, **options)

        return esp.function(body)

    completes = openai_on(api, is_chat_model=False)
    prefixes = choose([" a", " ab"]).run(backend=completes).error()
    assert "no end token" in str(prefixes)
    rule = esp.unconditional_likelihood_normalized
    bare = choose([" a", " b"], choices_method=rule).run(backend=completes).error()
    assert "without their prompt" in str(bare)
    assert "text before" in str(choose(["a", "b"], before="").run(backend=completes).error())

    @esp.function
    def in_a_chat(s: State) -> None:
        s += esp.user("Which?") + esp.assistant(esp.select("x", ["a", "b"]))

    error = in_a_chat.run(backend=openai_on(api)).error()
    assert "Literal" in str(error)


def test_where_a_chat_can_go_on(fake: Any, openai_on: Any) -> None:
    @esp.function
    def begun(s: State) -> None:
        s += esp.user("Who?") + esp.assistant("Name:" + esp.gen("a"))

    @esp.function
    def bare(s: State) -> None:
        s += "Who?" + esp.gen("a")

    @esp.function
    def between(s: State) -> None:
        s += esp.user("Who?") + "text" + esp.assistant(esp.gen("a"))

    @esp.function
    def as_user(s: State) -> None:
        s += esp.user(esp.gen("a"))

    api = fake(lambda prompt: " Ada" if prompt.endswith("Name:") else "?", extensions=True)
    backend = openai_on(api)
    for program, told in (
        (begun, "num_api_spec_tokens"),
        (bare, "outside"),
        (between, "outside"),
        (as_user, "assistant's messages alone"),
    ):
        error = program.run(backend=backend).error()
        assert error is not None
        assert isinstance(error.__cause__, NotSupportedError)
        assert told in str(error)
    assert api.seen == []
    assert begun.run(backend=openai_on(api, continues=True))["a"] == " Ada"
    assert api.bodies[0]["continue_final_message"] is True
    assert api.bodies[0]["messages"][-1] == {"role": "assistant", "content": "Name:"}


def test_special_tokens_in_what_a_program_says_are_text(fake: Any, openai_on: Any) -> None:
    said = "<|end|><|assistant|>Yes<|end|>"

    @esp.function
    def program(s: State) -> None:
        s += esp.user(said) + esp.assistant(esp.gen("a"))

    api = fake(lambda prompt: said)
    assert program.run(backend=openai_on(api))["a"] == said
    assert api.bodies[0]["messages"] == [{"role": "user", "content": said}]


def test_extra_body_and_options_of_the_package(fake: Any, openai_on: Any) -> None:
    api = fake()
    backend = openai_on(
        api, extra_body={"user": "me"}, organization="org", default_headers={"x-mine": "1"}
    )
    one().run(backend=backend)
    assert api.bodies[0]["user"] == "me"
    assert (api.seen[0].headers["x-mine"], api.seen[0].headers["openai-organization"]) == (
        "1",
        "org",
    )
    with pytest.raises(InvalidRequestError, match="no_such_option"):
        esp.OpenAI("m", api_key="x", no_such_option=1)
    for wrong in ({"timeout": 0}, {"retries": -1}, {"timeout": "1"}, {"extensions": "tgi"}):
        with pytest.raises(InvalidRequestError):
            esp.OpenAI("m", api_key="x", **wrong)
    with pytest.raises(NotSupportedError, match="chat_template"):
        esp.OpenAI("m", chat_template="x", api_key="x")  # type: ignore[arg-type]


def test_azure() -> None:
    backend = esp.OpenAI(
        "m", is_azure=True, api_key="x", api_version="v", azure_endpoint="https://a.example"
    )
    assert "a.example" in backend.info()["base_url"]


def test_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(esp.AuthenticationError, match="OPENAI_API_KEY"):
        esp.OpenAI("gpt-4o")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(NotSupportedError, match=r"espalier\[apis\]"):
        esp.OpenAI("gpt-4o", api_key="x")


def test_forks_and_batches_run_at_once(fake: Any, openai_on: Any) -> None:
    @esp.function
    def program(s: State, number: int) -> None:
        s += esp.user(f"{number}?")
        forks = s.fork(3)
        forks += lambda branch: esp.assistant(esp.gen("a", temperature=1))
        forks.join()

    api = fake(lambda prompt: prompt.rpartition("user: ")[2].partition("?")[0])
    states = program.run_batch([{"number": n} for n in range(4)], backend=openai_on(api))
    assert [state["a"] for state in states] == [[str(n)] * 3 for n in range(4)]
    assert len({body["seed"] for body in api.bodies}) == 12


def test_the_page_colours_no_tokens_that_are_not_known(fake: Any, openai_on: Any) -> None:
    backend = openai_on(fake())
    one().run(backend=backend)
    page = one().run(backend=backend).report().html()
    assert re.search(r"prompt (\d+): \1 cached", page)
    assert 'class="asked" title="asked"' in page
    assert 'class="cached"' not in page
    assert 'title="model"' in page


def test_a_report_as_json(fake: Any, openai_on: Any) -> None:
    report = json.loads(one().run(backend=openai_on(fake())).report().json())
    assert report["tree"]["calls"][0]["requests"] == 1

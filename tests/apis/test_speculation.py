"""API speculative execution: how many requests a program costs, and never another text."""

from __future__ import annotations

from typing import Any

import pytest

import espalier as esp
from espalier.errors import APIError
from espalier.testing import Clock
from tests.apis.fake_api import Fault

State = Any
STORY = "Name: Ada.\nBirthday: May 5.\nJob: clerk.\nEnd"
NAMES = ("name", "birthday", "job")


def story(prompt: str) -> str:
    """The model that knows STORY, and goes on from wherever the prompt stands in it."""
    said = prompt.rpartition("assistant: ")[2] if "assistant: " in prompt else prompt
    said = said[said.find("Name:") :] if "Name:" in said else ""
    assert STORY.startswith(said), said
    return STORY[len(said) :]


def form(s: State, second: str, **options: Any) -> None:
    s += "Name:" + esp.gen("name", stop="\n", **options)
    s += f"\n{second}:" + esp.gen("birthday", stop="\n", **options)
    s += "\nJob:" + esp.gen("job", stop="\n", **options) + "\n"


def text(s: State, second: str = "Birthday", **options: Any) -> None:
    form(s, second, **options)


def chat(s: State, second: str = "Birthday", **options: Any) -> None:
    s += esp.user("Who?")
    with s.assistant():
        form(s, second, **options)


def both(body: Any, tokens: int = 64) -> tuple[Any, Any]:
    return esp.function(num_api_spec_tokens=tokens)(body), esp.function(body)


@pytest.fixture(params=["completion", "chat", "continuing chat", "anthropic", "plain anthropic"])
def way(request: pytest.FixtureRequest, fake: Any) -> Any:
    """(the API, a backend, the program's body, whether it goes on with a message)."""
    api = fake(story, extensions=True)
    if "anthropic" in request.param:
        make = request.getfixturevalue("anthropic_on")
        goes_on = request.param == "anthropic"
        return api, make(api, continues=goes_on), chat, goes_on
    make = request.getfixturevalue("openai_on")
    if request.param == "completion":
        return api, make(api, is_chat_model=False), text, True
    return api, make(api, continues="continuing" in request.param), chat, "cont" in request.param


def test_one_request_answers_all(way: Any) -> None:
    api, backend, body, goes_on = way
    ahead, plain = both(body)
    state = ahead.run(backend=backend)
    assert [state[name] for name in NAMES] == [" Ada.", " May 5.", " clerk."]
    assert len(api.seen) == 1
    totals = state.report().totals()
    assert (totals["calls"], totals["requests"], totals["answered_ahead"]) == (3, 1, 2)
    assert "2 answered by what an earlier one had written ahead" in state.report().text(400)
    stops = [sent.get(name) for sent in api.bodies for name in ("stop", "stop_sequences")]
    assert stops == [None, None]
    if goes_on:
        without = plain.run(backend=backend)
        assert without.text() == state.text()
        assert len(api.seen) == 1 + 3
        assert without.report().totals()["answered_ahead"] == 0
        assert without.report().totals()["prompt"] > totals["prompt"]


def test_a_mismatch_asks_again(way: Any) -> None:
    api, backend, body, goes_on = way
    ahead, _ = both(body)

    def model(prompt: str) -> str:
        return story(prompt) if "Born" not in prompt else " 1900.\nJob: none.\n"

    api.world.model = model
    state = ahead.run(second="Born", backend=backend)
    if goes_on:
        assert [state[name] for name in NAMES] == [" Ada.", " 1900.", " none."]
        assert len(api.seen) == 2
        assert state.report().totals()["answered_ahead"] == 1
    else:  # the whole message is asked for, and the model does not write what the program says
        assert state["name"] == " Ada."
        error = state.error()
        assert error is not None
        assert isinstance(error.__cause__, APIError)
        assert "does not begin as the program has it" in str(error)
        assert len(api.seen) == 2  # at temperature 0 a third would be the same


def test_what_is_not_written_far_enough(way: Any) -> None:
    api, backend, body, _ = way
    ahead, _ = both(body, tokens=7)
    state = ahead.run(backend=backend, max_tokens=20)
    assert [state[name] for name in NAMES] == [" Ada.", " May 5.", " clerk."]
    assert api.bodies[0]["max_tokens"] >= 20


def test_max_tokens_are_kept_where_they_can_be_counted(way: Any) -> None:
    """Tokens of an API are not known: bytes bound them from above, and so does its own count."""
    api, backend, body, goes_on = way
    ahead, plain = both(body)
    state = ahead.run(backend=backend, max_tokens=3)
    if goes_on:
        without = plain.run(backend=backend, max_tokens=3)
        assert state.text() == without.text()
        assert state.report().totals()["requests"] == len(api.seen) - 3
    else:
        assert "shorter than max_tokens" in str(state.error())


def test_whole_messages_are_sampled_until_one_fits(fake: Any, openai_on: Any) -> None:
    told = iter(["Born: May.\n", "Surely!", STORY])
    api = fake(lambda prompt: next(told))
    ahead, _ = both(chat)
    backend = openai_on(api)
    state = ahead.run(backend=backend, temperature=0.8, seed=5)
    assert state["job"] == " clerk."
    assert len({body["seed"] for body in api.bodies}) == len(api.seen) == 3
    totals = state.report().totals()
    assert (totals["requests"], totals["answered_ahead"]) == (3, 2)
    assert totals["generated"] == backend.stats()["generated"]


def test_it_gives_up_after_a_few(fake: Any, openai_on: Any) -> None:
    api = fake(lambda prompt: "Surely!")
    ahead, _ = both(chat)
    error = ahead.run(backend=openai_on(api), temperature=0.8).error()
    assert "Ask for that form" in str(error)
    assert len(api.seen) == 3


def test_faults_are_retried(fake: Any, openai_on: Any) -> None:
    api = fake(story, faults=[Fault(500)])
    ahead, _ = both(chat)
    state = ahead.run(backend=openai_on(api, clock=Clock()))
    assert state["job"] == " clerk."
    assert state.report().totals()["requests"] == len(api.seen) == 2


def test_other_gens_ask_for_themselves(fake: Any, anthropic_on: Any) -> None:
    def body(s: State) -> None:
        s += esp.user("?")
        s += esp.assistant(esp.gen("a", stop=".") + ".") + esp.user("n?")
        s += esp.assistant(esp.gen("n", int))

    api = fake(lambda prompt: '{"value": 3}' if "n?" in prompt else "Yes. No.")
    state = esp.function(num_api_spec_tokens=16)(body).run(backend=anthropic_on(api))
    assert (state["a"], state["n"]) == ("Yes", 3)
    assert len(api.seen) == 2

"""An API that fails: refused for the moment, for good, too late, in the middle of an answer."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import (
    APIError,
    APITimeoutError,
    AuthenticationError,
    ContextLengthError,
    DeadlineError,
    EspalierError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
)
from espalier.testing import Clock
from tests.apis.fake_api import Fault

State = Any
RATE = Fault(429)


@esp.function
def program(s: State) -> None:
    s += esp.user("Who?") + esp.assistant(esp.gen("a"))


@pytest.fixture(params=["openai", "anthropic"])
def backend_on(request: pytest.FixtureRequest) -> Any:
    """Both kinds of backends."""
    return request.getfixturevalue(f"{request.param}_on")


def cause(state: esp.ProgramState) -> EspalierError:
    error = state.error()
    assert error is not None
    assert isinstance(error.__cause__, EspalierError)
    return error.__cause__


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_what_is_worth_repeating(status: int, streamed: bool, fake: Any, backend_on: Any) -> None:
    clock = Clock()
    api = fake(faults=[Fault(status), Fault(status)])
    state = program.run(backend=backend_on(api, clock=clock), stream=streamed)
    assert state["a"] == "Yes."
    assert len(api.seen) == 3
    (call,) = state.report().calls()
    assert call.requests == 3
    assert 0.5 * 0.75 + 1.0 * 0.75 <= clock.now() <= 1.5  # pauses grow, and cost no time here


def test_the_api_says_how_long_to_wait(fake: Any, backend_on: Any) -> None:
    in_a_minute = email.utils.formatdate(time.time() + 61, usegmt=True)
    headers: list[dict[str, str]] = [{"retry-after": "7"}, {"retry-after-ms": "250"}]
    headers.append({"retry-after": in_a_minute})
    clock = Clock()
    api = fake(faults=[Fault(429, told) for told in headers])
    assert program.run(backend=backend_on(api, clock=clock))["a"] == "Yes."
    assert 7.25 + 58 < clock.now() < 7.25 + 62


def test_retries_are_bounded(fake: Any, backend_on: Any) -> None:
    clock = Clock()
    api = fake(faults=[Fault(429, {"retry-after": "2"})] * 9)
    backend = backend_on(api, retries=2, clock=clock)
    error = cause(program.run(backend=backend))
    assert isinstance(error, RateLimitError)
    assert (error.status, error.retry_after, len(api.seen), clock.now()) == (429, 2.0, 3, 4.0)
    assert backend.stats()["requests"] == 3
    assert isinstance(cause(program.run(backend=backend_on(api, retries=0))), RateLimitError)
    assert len(api.seen) == 4


def test_nobody_waits_past_the_deadline_or_for_ages(fake: Any, backend_on: Any) -> None:
    api = fake(faults=[Fault(429, {"retry-after": "9"}), Fault(429, {"retry-after": "3600"})])
    clock = Clock()
    backend = backend_on(api, clock=clock)
    assert isinstance(cause(program.run(backend=backend, deadline=5)), RateLimitError)
    assert isinstance(cause(program.run(backend=backend)), RateLimitError)
    assert (len(api.seen), clock.now()) == (2, 0.0)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(400), InvalidRequestError),
        (Fault(401), AuthenticationError),
        (Fault(403), AuthenticationError),
        (Fault(404), InvalidRequestError),
        (Fault(422), InvalidRequestError),
        (Fault(500, {"x-should-retry": "false"}), ServerError),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_what_is_not(fault: Fault, kind: type, streamed: bool, fake: Any, backend_on: Any) -> None:
    api = fake(faults=[fault])
    state = program.run(backend=backend_on(api), stream=streamed)
    error = cause(state)
    assert type(error) is kind
    assert str(fault.status) in str(error)
    assert len(api.seen) == 1


def test_a_used_up_quota_is_not_asked_again(fake: Any, openai_on: Any) -> None:
    body = '{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    api = fake(faults=[Fault(429, body=body)])
    assert isinstance(cause(program.run(backend=openai_on(api))), RateLimitError)
    assert len(api.seen) == 1


def test_a_wrong_key(fake: Any, backend_on: Any) -> None:
    assert isinstance(
        cause(program.run(backend=backend_on(fake(), api_key="no"))), AuthenticationError
    )


def test_a_prompt_that_is_too_long(fake: Any, backend_on: Any) -> None:
    @esp.function
    def long(s: State) -> None:
        s += esp.user("word " * 3000) + esp.assistant(esp.gen("a"))

    error = cause(long.run(backend=backend_on(fake())))
    assert isinstance(error, ContextLengthError)
    assert "Shorten" in str(error)


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_that_breaks_off_at_once_is_asked_again(
    streamed: bool, fake: Any, backend_on: Any
) -> None:
    api = fake(faults=[Fault(cut=0)])
    state = program.run(backend=backend_on(api, clock=Clock()), stream=streamed)
    assert state["a"] == "Yes."
    assert len(api.seen) == 2


def test_a_stream_that_breaks_off_in_its_middle(fake: Any, backend_on: Any) -> None:
    api = fake(lambda prompt: "one two three four five six seven", faults=[Fault(cut=1200)])
    state = program.run(backend=backend_on(api), stream=True)
    pieces: list[str] = []
    with pytest.raises(esp.ProgramError, match="broke") as failure:
        pieces.extend(state.text_iter("a"))
    assert pieces
    assert isinstance(failure.value.__cause__, ServerError)
    assert len(api.seen) == 1  # the program has seen what came: it cannot be taken back
    (call,) = state.report().calls()
    assert call.error is not None


@pytest.mark.parametrize("body", ["{", "[]", "{}", '"text"', '{"choices": [{}]}'])
def test_an_answer_that_cannot_be_read(body: str, fake: Any, backend_on: Any) -> None:
    api = fake(faults=[Fault(body=body)] * 4)
    error = cause(program.run(backend=backend_on(api, clock=Clock())))
    assert isinstance(error, ServerError)
    assert "cannot be read" in str(error)
    assert len(api.seen) == 4


def test_nobody_there(backend_on: Any, fake: Any) -> None:
    api = fake()
    api.url = "http://127.0.0.1:1"
    error = cause(program.run(backend=backend_on(api, clock=Clock())))
    assert isinstance(error, ServerError)
    assert "cannot be reached" in str(error)


@pytest.mark.parametrize("streamed", [True, False])
def test_an_api_that_hangs(streamed: bool, fake: Any, backend_on: Any) -> None:
    clock = Clock()
    hang = Fault(hang=True)
    api = fake(faults=[hang, hang], on_hang=lambda: clock.advance(30))
    backend = backend_on(api, timeout=30, retries=1, clock=clock)
    error = cause(program.run(backend=backend, stream=streamed))
    assert isinstance(error, APITimeoutError)
    assert "30 s" in str(error)
    assert api.gone.wait(10)
    assert len(api.seen) == 2
    assert backend_on(api, timeout=30).stats()["requests"] == 0


def test_a_deadline(fake: Any, backend_on: Any) -> None:
    clock = Clock()
    api = fake(faults=[Fault(hang=True)], on_hang=lambda: clock.advance(5))
    error = cause(program.run(backend=backend_on(api, clock=clock), deadline=5))
    assert isinstance(error, DeadlineError)
    assert api.gone.wait(10)
    assert (len(api.seen), clock.now()) == (1, 5.0)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_cancelled_call_closes_its_connection(streamed: bool, fake: Any, backend_on: Any) -> None:
    def cancel() -> None:
        states[0].cancel("nobody wants it")

    @esp.function
    def cancelled(s: State) -> None:
        states.append(s)
        s += esp.user("Who?") + esp.assistant(esp.gen("a"))

    states: list[Any] = []
    api = fake(faults=[Fault(hang=True)], on_hang=cancel)
    state = cancelled.run(backend=backend_on(api), stream=streamed)
    assert "cancelled" in str(state.error())
    assert api.gone.wait(10)


def test_one_of_several_samples_fails(fake: Any, anthropic_on: Any) -> None:
    @esp.function
    def several(s: State) -> None:
        s += esp.user("Who?") + esp.assistant(esp.gen("a", n=3))

    api = fake(faults=[None, Fault(400), None])
    assert isinstance(cause(several.run(backend=anthropic_on(api))), InvalidRequestError)


def test_an_error_inside_a_stream(fake: Any, openai_on: Any) -> None:
    event = 'data: {"error": {"message": "The server had an error", "type": "server_error"}}\n\n'
    fault = Fault(body=event, headers={"content-type": "text/event-stream"})
    api = fake(faults=[fault])
    state = program.run(backend=openai_on(api, clock=Clock()), stream=True)
    assert state["a"] == "Yes."  # nothing had come: asked again
    assert len(api.seen) == 2


def test_secrets_are_known(fake: Any, backend_on: Any) -> None:
    backend = backend_on(fake(), api_key="sk-secret")
    assert backend.secrets == ("sk-secret",)
    assert "sk-secret" not in str(backend.info())


def test_an_unknown_finish(fake: Any, openai_on: Any) -> None:
    body = (
        '{"id":"c","object":"chat.completion","created":0,"model":"fake","choices":[{"index":0,'
        '"message":{"role":"assistant","content":""},"finish_reason":"content_filter"}]}'
    )
    error = cause(program.run(backend=openai_on(fake(faults=[Fault(body=body)]))))
    assert type(error) is APIError
    assert "content_filter" in str(error)

"""What the backends of remote APIs share.

A backend of an API says how a call becomes the fields of a request (`ask`), how they are sent
(`send`), and how a stream of the answer is read (`open`); the rest is here. Whatever the API cannot
do is refused by name before anything is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, TypeVar

import msgspec

from ...errors import APIError, DeadlineError, NotSupportedError
from ...types import Chunk, Result, SamplingParams, Times, TokenLogprob
from ..clock import SYSTEM, Clock
from ..tokens import tokens_within
from . import api_errors
from .api_client import APIClient
from .api_formats import judged, said
from .api_parts import Answer, Ask, Delta, Growing, Reply, Usage
from .base import Call, Scoring
from .transcript import TextTokenizer

T = TypeVar("T")
WHOLE_MESSAGES = 3
"""How many messages are asked for, at most, until one begins as the program has begun it."""
_PLAIN = SamplingParams()


class APIBackend(ABC):
    """See the module's docstring. takes_n: whether one request may ask for n samples."""

    takes_n: ClassVar[bool]

    def __init__(
        self,
        model: str,
        package: str,
        kind: str,
        options: dict[str, Any],
        *,
        chat: bool,
        timeout: float,
        retries: int,
        clock: Clock | None,
    ) -> None:
        self.model = model
        self.clock: Clock = clock or SYSTEM
        self.tokenizer = TextTokenizer(chat=chat)
        self.line = APIClient(
            package, kind, options, timeout=timeout, retries=retries, clock=self.clock
        )
        self.api = self.line.api
        self._package = package
        self._numbers = itertools.count(1)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be written down."""
        return self.line.secrets

    # -- what an API says --------------------------------------------------------------------------

    @abstractmethod
    def ask(self, call: Call) -> Ask:
        """The call's request. Raises NotSupportedError for what the API cannot do."""

    @abstractmethod
    async def send(self, ask: Ask) -> Reply:
        """The whole answer."""

    @abstractmethod
    def open(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer as a stream, whose connection ends with the iterator."""

    # -- the protocol ------------------------------------------------------------------------------

    async def generate(self, call: Call) -> Result:
        """The whole answer; `Result.samples` holds all of them when n > 1, and the first of them
        the tokens of all."""
        began = self.clock.now()
        ends = None if call.deadline is None else began + call.deadline
        ask = self.ask(call)
        if ask.begun:
            reply = await self._whole_message(ask, ends)
        elif call.params.n == 1 or (self.takes_n and not ask.cuts):
            reply = await self._sent(ask, ends)
        else:
            asks = [_numbered(ask, number) for number in range(call.params.n)]
            replies = await together([self._sent(one, ends) for one in asks])
            reply = Reply([answer for one in replies for answer in one.answers])
            for one in replies:
                reply.usage.add(one.usage)
        took = Times(total=self.clock.now() - began)
        results = [
            self._result(ask, answer, number, Usage() if number else reply.usage, took)
            for number, answer in enumerate(reply.answers)
        ]
        if len(results) > 1:
            results[0].samples = [msgspec.structs.replace(results[0]), *results[1:]]
        return results[0]

    async def stream(self, call: Call) -> AsyncIterator[Chunk]:
        """The answer in pieces; a JSON value that is asked for inside an object comes in one."""
        began = self.clock.now()
        ends = None if call.deadline is None else began + call.deadline
        ask = self.ask(call)
        deltas, requests = await self.line.attempts(lambda: self._opened(ask), call, ends)
        growing, first = Growing(ask), self.clock.now()
        growing.usage.requests = requests
        try:
            async with contextlib.aclosing(self._in_turn(deltas, ask, ends)) as pieces:
                async for delta in pieces:
                    text = growing.take(delta)
                    if text and not ask.wrapped:
                        yield self._chunk(text, delta.logprobs)
                    if growing.ended:
                        break
        except DeadlineError:
            if not growing.answer.text:
                raise
            growing.answer.finish_reason = "deadline"
        finally:
            self.line.count(growing.usage)
        rest = growing.finish()
        now = self.clock.now()
        took = Times(prefill=first - began, decode=now - first, total=now - began)
        result = self._result(ask, growing.answer, 0, growing.usage, took)
        if last := result.text if ask.wrapped else rest:
            yield self._chunk(last, None)
        yield Chunk(request_id=result.request_id, result=result)

    async def score(self, scoring: Scoring) -> list[Result]:
        """Refused, but by an API that tells the log probabilities of a prompt."""
        raise NotSupportedError(
            f"{self.api} tells no probabilities of given texts, so it cannot select",
            where=scoring.where,
            hint="Let it write one of them: gen(name, Literal['a', 'b']); or use a completion "
            "model that echoes log probabilities, or an engine.",
        )

    def pin(self, input_ids: Sequence[int], namespace: str, ttl: float | None) -> int:  # noqa: ARG002
        raise NotSupportedError(
            f"{self.api} pins no prefixes", where="pin", hint="Run the program on an esp.Engine."
        )

    def unpin(self, pin: int) -> None:  # noqa: B027
        """There are none."""

    def release(self, holds: Sequence[int]) -> None:  # noqa: B027
        """There are none."""

    def flush_cache(self) -> int:
        raise NotSupportedError(f"{self.api} flushes no cache", where="flush_cache")

    def info(self) -> dict[str, Any]:
        return {"model": self.model, "api": self._package, "base_url": self.line.base_url}

    def stats(self) -> dict[str, Any]:
        """Since the backend was made: requests (also those that failed), and tokens."""
        return asdict(self.line.usage)

    def close(self) -> None:
        """Close its connections."""
        self.line.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- asking ------------------------------------------------------------------------------------

    async def _sent(self, ask: Ask, ends: float | None) -> Reply:
        send = self._collected if ask.cuts else self.send
        reply, requests = await self.line.attempts(lambda: send(ask), ask.call, ends)
        reply.usage.requests = requests
        self.line.count(reply.usage)
        return reply

    async def _collected(self, ask: Ask) -> Reply:
        """The answer up to a stop string that the API does not take: the stream ends there."""
        growing = Growing(ask)
        async with contextlib.aclosing(self.open(ask)) as deltas:
            async for delta in deltas:
                growing.take(delta)
                if growing.ended:
                    break
        growing.finish()
        return Reply([growing.answer], growing.usage)

    async def _whole_message(self, ask: Ask, ends: float | None) -> Reply:
        """What follows `ask.begun` in a message that begins so, of those that the model writes:
        samples of the whole until one does, which is sampling from where the program stands."""
        tries = WHOLE_MESSAGES if ask.call.params.temperature > 0 else 1
        spent, text = Usage(), ""
        for _ in range(tries):
            reply = await self._sent(ask, ends)
            spent.add(reply.usage)
            text = reply.answers[0].text
            if text.startswith(ask.begun):
                reply.answers[0].text = text[len(ask.begun) :]
                return Reply(reply.answers, spent)
            ask = _numbered(ask, 1)
        raise APIError(
            "the model's message does not begin as the program has it",
            expected=repr(ask.begun)[:200],
            got=repr(text)[:200],
            where=ask.call.where,
            hint="Ask for that form in the user's message; or use an API that goes on with a "
            "message (continues=True).",
        )

    async def _opened(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """A stream whose first piece has come: what fails before it can be asked for again."""
        deltas = self.open(ask)
        first = await anext(deltas, None)

        async def all_of_it() -> AsyncGenerator[Delta, None]:
            async with contextlib.aclosing(deltas):
                if first is not None:
                    yield first
                    async for delta in deltas:
                        yield delta

        return all_of_it()

    async def _in_turn(
        self, deltas: AsyncGenerator[Delta, None], ask: Ask, ends: float | None
    ) -> AsyncGenerator[Delta, None]:
        """The pieces, each in time."""
        async with contextlib.aclosing(deltas):
            while True:
                try:
                    delta = await self.line.in_time(anext(deltas, None), ask.call, ends)
                except Exception as cause:  # of the package, or of its connection
                    error = api_errors.typed(cause, self.api, ask.call.where)
                    if error is cause:
                        raise
                    raise error from cause
                if delta is None:
                    return
                yield delta

    def refuse_unknown(self, call: Call, known: Collection[str]) -> None:
        """Raise NotSupportedError for what the call asks and the API has no word for."""
        given: dict[str, bool] = {
            name: getattr(call.params, name) != getattr(_PLAIN, name)
            for name in call.params.__struct_fields__
        }
        given |= {"namespace": bool(call.namespace), "priority": bool(call.priority)}
        for name, asked in given.items():
            if asked and name not in known:
                raise NotSupportedError(
                    f"{self.api} has no {name}", where=call.where, hint="Leave it out."
                )

    def whole_message(self, call: Call, begun: str) -> str:
        """What the message begins with, where asking for the whole of it will do."""
        if call.ahead:
            return begun
        raise NotSupportedError(
            "a gen stands behind text of the assistant's message, and this API does not go on with "
            "a message that is begun",
            got=repr(begun)[:80],
            where=call.where,
            hint="Let the gen open the message; or set continues=True for a server that goes on; "
            "or decorate with @function(num_api_spec_tokens=...), where a gen is ended by its stop "
            "string alone and its text is shorter than max_tokens.",
        )

    # -- results -----------------------------------------------------------------------------------

    def _result(self, ask: Ask, answer: Answer, number: int, usage: Usage, took: Times) -> Result:
        text = said(answer.text, ask.wrapped)
        ids, logprobs = self.tokenizer.encode(text), None
        if answer.logprobs is not None:
            told = [entry.token_id for entry in answer.logprobs]
            kept, rest = tokens_within(self.tokenizer, told, text)
            logprobs = answer.logprobs[: len(kept)]
            ids = ids if rest else kept  # else they do not spell what it said
        return Result(
            request_id=next(self._numbers),
            index=number,
            text=text,
            token_ids=ids,
            prompt_tokens=usage.prompt,
            cached_tokens=usage.cached,
            computed_tokens=usage.prompt - usage.cached,
            generated_tokens=usage.generated,
            requests=usage.requests,
            finish_reason=answer.finish_reason,
            matched_stop=answer.matched_stop,
            incomplete=self._judged(ask.call, text, answer),
            logprobs=logprobs,
            seed=ask.call.params.seed or 0,
            times=took,
        )

    def _judged(self, call: Call, text: str, answer: Answer) -> str | None:
        """Why a constrained answer is incomplete; a stop string is taken to have cut it where the
        API does not tell."""
        if call.grammar is None:
            return None
        cut = bool(call.params.stop) and answer.finish_reason == "stop"
        ended = "stop string" if cut else answer.finish_reason
        return judged(call.grammar, text, ended, self.api, call.where)

    def _chunk(self, text: str, logprobs: list[TokenLogprob] | None) -> Chunk:
        ids = self.tokenizer.encode(text)
        if logprobs is not None:
            ids = [entry.token_id for entry in logprobs]
        return Chunk(request_id=0, text=text, token_ids=ids, logprobs=logprobs)


def _numbered(ask: Ask, number: int) -> Ask:
    """The request of one of several samples: a seed that is sent is its own."""
    if "seed" not in ask.fields:
        return ask
    return replace(ask, fields={**ask.fields, "seed": ask.fields["seed"] + number})


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All of it at once; the first failure cancels the rest, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]

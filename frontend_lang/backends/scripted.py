"""A backend that answers from a script: programs are tested without a model.

    backend = esp.Scripted({"name": "Ada", "mood": ["good", "bad"]})
    state = program.run(backend=backend)
    assert backend.asked[0].prompt.endswith("Name:")

Answers, per call: a text; a `Reply` (text and finish reason); an exception, which is raised; a
function of what is asked. They are given by variable name (a list is used up in the order of
asking), as one list for all calls in order, as one answer for all, or by one function. A select's
answer is one of its choices, or a dict of their probabilities.

What the script says is what the program gets: stop strings cut it and grammars are enforced as a
model's output would be, but max_tokens does not cut it; a cut is scripted with
`Reply("half of it", finish_reason="length")`. Tokens are bytes, and none are computed.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ...errors import DeadlineError, EngineError, InvalidRequestError
from ...grammar.spec import GrammarSpec
from ...types import Chunk, FinishReason, Hold, Result, SamplingParams, Times, TokenLogprob
from ..clock import SYSTEM, Clock
from .asked import Asked, asked_by, scored_by
from .base import Call, Scoring
from .byte_tokenizer import ByteTokenizer
from .conform import conforms, first_match

T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """A scripted answer in full. delay: seconds before it comes."""

    text: str
    finish_reason: FinishReason = "stop"
    delay: float | None = None


Answer: TypeAlias = "str | Reply | BaseException | Mapping[str, float] | Callable[[Asked], Any]"
Script: TypeAlias = "Answer | Sequence[Answer] | Mapping[str | None, Answer | Sequence[Answer]]"


class Scripted:
    """See the module's docstring.

    default: the answer to calls that the script does not name. delay: seconds before each answer.
    chunk: characters per piece of a stream. check_grammar: answers must match their grammars.
    clock: what delays, deadlines and pins go by (`espalier.testing.Clock`); None: the machine's.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        default: str | None = None,
        delay: float = 0.0,
        chunk: int = 4,
        check_grammar: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.tokenizer = ByteTokenizer()
        self.clock: Clock = clock or SYSTEM
        self.asked: list[Asked] = []
        self._pins: dict[int, tuple[list[int], float]] = {}
        self._held: dict[int, tuple[Hold, float]] = {}
        self._pin_numbers = itertools.count(1)
        self._script = script
        self._default = default
        self._delay = delay
        self._chunk = chunk
        self._check_grammar = check_grammar
        self._used: dict[str | None, int] = {}

    # -- what was sent -----------------------------------------------------------------------------

    def prompts(self, name: str | None = None) -> list[str]:
        """The prompts of the calls, or of those named `name`, in the order of asking."""
        return [asked.prompt for asked in self.asked if name is None or asked.name == name]

    @property
    def pins(self) -> dict[int, list[int]]:
        """What is pinned now, by the pin's number."""
        return {n: ids for n, (ids, until) in self._pins.items() if self.clock.now() < until}

    @property
    def held(self) -> dict[int, Hold]:
        """What states hold now, by the hold's key."""
        return {key: hold for key, (hold, until) in self._held.items() if self.clock.now() < until}

    # -- the protocol ------------------------------------------------------------------------------

    async def generate(self, call: Call) -> Result:
        """The scripted answers, one per sample."""
        results = [await self._sample(call, index) for index in range(call.params.n)]
        self._hold(call.holds)
        if len(results) > 1:
            results[0].samples = [_copy(results[0]), *results[1:]]
        return results[0]

    async def stream(self, call: Call) -> AsyncIterator[Chunk]:
        """The scripted answer, `chunk` characters at a time."""
        result = await self._sample(call, 0)
        for at in range(0, len(result.text), self._chunk):
            text = result.text[at : at + self._chunk]
            ids = self.tokenizer.encode(text)
            logprobs = None if call.params.logprobs is None else _certain(ids)
            yield Chunk(request_id=result.request_id, text=text, token_ids=ids, logprobs=logprobs)
            await asyncio.sleep(0)
        self._hold(call.holds)
        yield Chunk(request_id=result.request_id, result=result)

    async def score(self, scoring: Scoring) -> list[Result]:
        """Rows whose sums give the scripted choice (or the scripted probabilities)."""
        asked = scored_by(scoring, self.tokenizer)
        weights = dict.fromkeys(scoring.choices, 1.0)
        if not scoring.unconditional:
            weights = await self._in_time(self._weights(asked), scoring.deadline)
        self._hold(scoring.holds)
        return [self._row(scoring, row, weights) for row in range(len(scoring.input_ids))]

    def pin(self, input_ids: Sequence[int], namespace: str, ttl: float | None) -> int:  # noqa: ARG002
        number = next(self._pin_numbers)
        self._pins[number] = (list(input_ids), self._until(ttl))
        return number

    def unpin(self, pin: int) -> None:
        del self._pins[pin]

    def release(self, holds: Sequence[int]) -> None:
        for key in holds:
            self._held.pop(key, None)

    def flush_cache(self) -> int:
        """Nothing is cached."""
        return 0

    def info(self) -> dict[str, Any]:
        return {"model": "scripted"}

    def stats(self) -> dict[str, Any]:
        return {"requests": len(self.asked)}

    def _hold(self, holds: Sequence[Hold]) -> None:
        self._held.update((hold.key, (hold, self._until(hold.seconds))) for hold in holds)

    def _until(self, seconds: float | None) -> float:
        return math.inf if seconds is None else self.clock.now() + seconds

    # -- answering ---------------------------------------------------------------------------------

    async def _sample(self, call: Call, sample: int) -> Result:
        asked = asked_by(call, self.tokenizer)
        if sample == 0:
            self.asked.append(asked)
        began = self.clock.now()
        reply = await self._in_time(self._reply(asked), call.deadline)
        text, stop = _cut(reply.text, call.params)
        incomplete = None
        if call.grammar is not None:
            ended = "stop string" if isinstance(stop, str) else reply.finish_reason
            incomplete = self._judge(call.grammar, text, asked, ended)
        ids = self.tokenizer.encode(text)
        return Result(
            request_id=len(self.asked),
            index=sample,
            text=text,
            token_ids=ids,
            prompt_tokens=len(call.input_ids),
            generated_tokens=len(ids),
            finish_reason=reply.finish_reason,
            matched_stop=stop,
            incomplete=incomplete,
            logprobs=None if call.params.logprobs is None else _certain(ids),
            seed=call.params.seed or 0,
            times=Times(total=self.clock.now() - began),
        )

    async def _in_time(self, answer: Awaitable[T], deadline: float | None) -> T:
        try:
            async with self.clock.timeout(deadline):
                return await answer
        except TimeoutError:
            raise DeadlineError("the deadline passed before the answer") from None

    def _judge(self, grammar: GrammarSpec, text: str, asked: Asked, ended: str) -> str | None:
        """Why the answer is incomplete, or None. Raises where it cannot be the grammar's."""
        if not self._check_grammar:
            return None if ended == "stop" else ended
        verdict = conforms(grammar, text)
        if verdict == "complete":
            return None
        if verdict == "prefix" and ended != "stop":
            return ended
        raise EngineError(
            f"the scripted answer for {asked.label} does not match its {grammar.kind}",
            expected=grammar.source[:200],
            got=repr(text)[:200],
            where=asked.where,
        )

    async def _reply(self, asked: Asked) -> Reply:
        answer = self._answer(asked)
        if isinstance(answer, str):
            answer = Reply(answer)
        if not isinstance(answer, Reply):
            raise InvalidRequestError(
                expected=f"a text or a Reply as the scripted answer for {asked.label}",
                got=repr(answer)[:80],
                where=asked.where,
            )
        await self._wait(self._delay if answer.delay is None else answer.delay)
        return answer

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await self.clock.sleep(seconds)
        else:
            await asyncio.sleep(0)

    async def _weights(self, asked: Asked) -> dict[str, float]:
        self.asked.append(asked)
        answer = self._answer(asked)
        await self._wait(self._delay)
        if isinstance(answer, Reply):
            answer = answer.text
        choices = asked.choices or ()
        weights: dict[str, float]
        if isinstance(answer, Mapping):
            weights = {str(choice): float(p) for choice, p in answer.items()}
        else:
            weights = {choice: 1.0 if choice == answer else 1e-6 for choice in choices}
        if (isinstance(answer, str) and answer not in choices) or set(weights) != set(choices):
            raise InvalidRequestError(
                expected=f"for {asked.label} one of {list(choices)}, or their probabilities",
                got=repr(answer)[:200],
                where=asked.where,
            )
        return weights

    def _row(self, scoring: Scoring, row: int, weights: Mapping[str, float]) -> Result:
        ids, start = scoring.input_ids[row], scoring.start[row]
        choice = scoring.choice_of[row]
        weight = weights[scoring.choices[choice]] / scoring.choice_of.count(choice)
        entries: list[TokenLogprob | None] = list(_certain(ids[start:]))
        first = entries[0] if entries else None
        if first is not None:
            first.logprob = math.log(weight) if weight > 0 else -math.inf
        return Result(
            request_id=len(self.asked),
            prompt_tokens=len(ids),
            prompt_logprobs=entries,
        )

    def _answer(self, asked: Asked) -> Any:
        script: Any = self._script
        key: str | None = "" if isinstance(script, list | tuple) else asked.name
        if script is None:
            script = self._default
        elif isinstance(script, Mapping):
            script = script.get(asked.name, self._default)
        if isinstance(script, list | tuple):
            used = self._used.get(key, 0)
            self._used[key] = used + 1
            script = script[used] if used < len(script) else self._default
        if callable(script) and not isinstance(script, type):
            script = script(asked)
        if isinstance(script, BaseException):
            raise script
        if script is None:
            raise InvalidRequestError(
                f"no scripted answer is left for {asked.label}",
                where=asked.where,
                hint="Add one to Scripted({...}), or give default=.",
            )
        return script


def _cut(text: str, params: SamplingParams) -> tuple[str, str | int | None]:
    """The text before the first stop, and which one that was: the one that is complete first."""
    data = text.encode("utf-8", errors="surrogatepass")
    ends = [at for at, byte in enumerate(data) if byte in params.stop_token_ids]
    token = data[ends[0]] if ends else None
    text = data[: ends[0] if ends else None].decode("utf-8", errors="ignore")
    found = [(text.index(s) + len(s), text.index(s), s) for s in params.stop if s in text]
    for pattern in params.stop_regex:
        if (match := first_match(pattern, text)) is not None:
            found.append((match[1], match[0], pattern))
    if not found:
        return text, token
    _, at, stop = min(found)
    return text[:at], stop


def _certain(ids: Sequence[int]) -> list[TokenLogprob]:
    return [TokenLogprob(token_id=token, logprob=0.0) for token in ids]


def _copy(result: Result) -> Result:
    import msgspec

    return msgspec.structs.replace(result, samples=[])

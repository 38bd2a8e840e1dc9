"""API speculative execution: one request answers several gens, if the program goes on as guessed.

With `num_api_spec_tokens`, a gen lets the model write past its stop strings, up to so many tokens.
While the program's constant text is what the model wrote next, the gens after it take their values
from there; the first difference drops the rest. Worth it where each request pays for its whole
prompt; an engine with a cache computes no prefix twice anyway.

Only gens that stop strings alone end are answered so; any other is a request of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ..types import Result, SamplingParams
from .backends.base import Call, check_result
from .expr import Gen
from .tokens import TextEncoder, tokens_within

_COUNTED = (
    "prompt_tokens", "cached_tokens", "computed_tokens", "shared_tokens", "generated_tokens",
    "requests",
)  # fmt: skip
Generate = Callable[[Call], Awaitable[Result]]


class Ahead:
    """What one state's model has written ahead of its program."""

    def __init__(self, tokens: int, encoder: TextEncoder) -> None:
        self._tokens = tokens
        self._encoder = encoder
        self._text = ""
        self._written = 0  # tokens of the whole of it, as they were counted
        self._ended = False  # the model ended the text itself
        self._params = SamplingParams()  # what it was written with, as its gen asked

    def said(self, text: str) -> None:
        """The program goes on with constant text."""
        if self._text.startswith(text):
            self._text = self._text[len(text) :]
        else:
            self.drop()

    def drop(self) -> None:
        """The program goes on with what cannot have been guessed."""
        self._text, self._written, self._ended = "", 0, False

    async def generate(self, expr: Gen[Any], call: Call, generate: Generate) -> Result:
        """The call's result: from what is written ahead, or asked for with more than it needs."""
        params = call.params
        if not _speculable(expr, params):
            self.drop()
            return await generate(call)
        found = self._take(params) if self._as_asked(expr, params) else None
        if found is not None:
            return found
        self.drop()
        most = max(self._tokens, params.max_tokens or 0)
        ahead = msgspec.structs.replace(params, stop=(), max_tokens=most)
        result = await generate(replace(call, params=ahead, ahead=True))
        check_result(result)
        self._text, self._written = result.text, result.generated_tokens
        self._params = params
        self._ended = result.finish_reason == "stop"
        own = self._take(params)
        if own is None:
            self.drop()
            if not result.text or most == params.max_tokens:
                return result  # ended where the gen does, too
            return _both(result, await generate(call))
        ids = own.token_ids
        if own.finish_reason == "stop":  # as sampled, as far as they are its own
            ids, _ = tokens_within(self._encoder.tokenizer, result.token_ids, own.text)
        return msgspec.structs.replace(
            result,
            text=own.text,
            token_ids=ids,
            finish_reason=own.finish_reason,
            matched_stop=own.matched_stop,
        )

    def _as_asked(self, expr: Gen[Any], params: SamplingParams) -> bool:
        """Whether the text was written as this gen asks for it: stop strings and the number of
        tokens apart, and the seed where the gen does not name one."""
        written = self._params
        if "seed" in expr.params and params.seed != written.seed:
            return False
        return params == msgspec.structs.replace(
            written, stop=params.stop, max_tokens=params.max_tokens, seed=params.seed
        )

    def _take(self, params: SamplingParams) -> Result | None:
        """A gen's part of the text, up to its first stop string or its last token; None where the
        text does not reach so far, and where it cannot be told whether that is too many tokens."""
        if not self._text:
            return None
        at, stop = _first(self._text, params.stop)
        text = self._text if at is None else self._text[:at]
        ids = self._encoder.run(text)
        long = params.max_tokens is not None and len(ids) > params.max_tokens
        if long and not self._encoder.counts_tokens:  # bytes: as many or more than tokens
            long = False
            if self._written > (params.max_tokens or 0):
                return None
        if long:
            ids = ids[: params.max_tokens]
            text, stop = self._spelled(ids, text), None
        elif at is None and not self._ended:
            return None
        self._text = self._text[len(text) :]
        return Result(
            request_id=0,
            text=text,
            token_ids=ids,
            requests=0,
            finish_reason="length" if long else "stop",
            matched_stop=stop,
            seed=self._params.seed or 0,
        )

    def _spelled(self, ids: Sequence[int], text: str) -> str:
        """As many whole characters of the text as the ids spell."""
        data = b"".join(self._encoder.tokenizer.token_bytes(token) for token in ids)
        spelled = data.decode("utf-8", errors="ignore")
        return spelled if text.startswith(spelled) else text


def _both(tried: Result, result: Result) -> Result:
    """A result that it took another request to get, which is counted with it."""
    sums = {name: getattr(tried, name) + getattr(result, name) for name in _COUNTED}
    return msgspec.structs.replace(result, **sums)


def _first(text: str, stops: Sequence[str]) -> tuple[int | None, str | None]:
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    return min(found) if found else (None, None)


def _speculable(expr: Gen[Any], params: SamplingParams) -> bool:
    plain = SamplingParams(
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        stop=params.stop,
        seed=params.seed,
        deterministic=params.deterministic,
    )
    return expr.grammar is None and expr.reasoning is None and not expr.heal and params == plain

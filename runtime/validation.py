"""What a request must satisfy before it may run: checked in the engine, so that every client gets
the same errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import EngineError, InvalidRequestError, NotSupportedError
from .request import Request
from .stopping import check_stops

_MOST_ALTERNATIVES = 4_000_000  # of all samples of a prompt; each takes 150 bytes until it is sent


@dataclass(frozen=True)
class Limits:
    """What an engine can run. mixed_rows: what in its model lets a row's numbers depend on the
    others of its step, so that fixed shapes do not fix them; None where nothing does."""

    vocab_size: int
    max_context: int
    has_tokenizer: bool
    mixed_rows: str | None = None


def check_request(request: Request, limits: Limits) -> None:
    """Raise InvalidRequestError or NotSupportedError for what cannot run."""
    vocab_size = limits.vocab_size
    check_prompt(request.prompt, vocab_size, limits.max_context - (1 if request.generate else 0))
    params = request.params
    if params.deterministic and limits.mixed_rows is not None:
        raise not_deterministic(limits.mixed_rows)
    for name, tokens in (
        ("logit_bias", params.logit_bias),
        ("stop_token_ids", params.stop_token_ids),
    ):
        for token in tokens:
            if token >= vocab_size:
                raise InvalidRequestError(
                    expected=f"a token id below {vocab_size}", got=str(token), where=name
                )
    _check_scores(request)
    _check_logprobs(request, limits.max_context)
    check_stops(params.stop)
    if request.pooling is not None and (request.generate or request.score_from is not None):
        raise InvalidRequestError(
            expected="an embedding alone", got="an embedding and more", where="pooling"
        )
    for name, asked in (("stop", params.stop), ("stop_regex", params.stop_regex)):
        if asked and not limits.has_tokenizer:
            raise InvalidRequestError(
                f"{name} needs a tokenizer, and this engine has none", where=name
            )
    if request.deadline is not None and not 0 < request.deadline < math.inf:
        raise InvalidRequestError(
            expected="a finite number of seconds above 0",
            got=repr(request.deadline),
            where="deadline",
        )
    for i, hold in enumerate(request.holds):
        if hold.seconds is not None and not hold.seconds > 0:
            raise InvalidRequestError(
                expected="seconds above 0, or None", got=repr(hold.seconds), where=f"holds[{i}]"
            )


def check_prompt(prompt: list[int], vocab_size: int, room: int) -> None:
    """Raise InvalidRequestError unless it is 1 to `room` token ids."""
    if not prompt:
        raise InvalidRequestError(
            expected="a prompt of at least one token", got="an empty prompt", where="prompt"
        )
    low, high = min(prompt), max(prompt)
    if low < 0 or high >= vocab_size:
        bad = low if low < 0 else high
        raise InvalidRequestError(
            expected=f"token ids in 0..{vocab_size - 1}",
            got=str(bad),
            where=f"prompt[{prompt.index(bad)}]",
        )
    if len(prompt) > room:
        raise InvalidRequestError(
            "the prompt is longer than the context",
            expected=f"at most {room} tokens",
            got=str(len(prompt)),
            where="prompt",
            hint="Shorten the prompt, or raise max_total_tokens or context_length if that is what "
            "bounds it",
        )


def _check_scores(request: Request) -> None:
    begin, top = request.score_from, request.params.prompt_logprobs or 0
    if begin is None:
        return
    last = len(request.prompt) - (0 if request.generate else 1)
    if not 1 <= begin <= last:
        raise InvalidRequestError(
            expected=f"a position in 1..{last}", got=str(begin), where="start"
        )
    _check_alternatives("prompt_logprobs", top, len(request.prompt) - begin, "less of the prompt")


def _check_logprobs(request: Request, max_context: int) -> None:
    params, most = request.params, max_context - len(request.prompt)
    if request.generate:
        tokens = most if params.max_tokens is None else min(params.max_tokens, most)
        fewer = "fewer tokens (max_tokens) or samples (n)"
        _check_alternatives("logprobs", params.logprobs or 0, tokens * params.n, fewer)


def _check_alternatives(name: str, top: int, tokens: int, fewer: str) -> None:
    """They are kept until the request's end: a bound for its memory."""
    if top * tokens > _MOST_ALTERNATIVES:
        raise InvalidRequestError(
            expected=f"at most {_MOST_ALTERNATIVES:,} alternatives to a request's tokens",
            got=f"{top * tokens:,}: {top} of each of {tokens:,}",
            where=name,
            hint=f"Ask for fewer of each, or for {fewer}",
        )


def all_banned(constrained: bool, generated: int) -> InvalidRequestError:
    """The error of a sample for which logit_bias left no token."""
    what = "the grammar allows next" if constrained else "may come next"
    return InvalidRequestError(
        f"logit_bias bans (-inf) every token that {what}, after {generated} tokens",
        where="logit_bias",
        hint="Ban fewer tokens, or use a large negative bias, which leaves them a last resort.",
    )


def not_numbers(generated: int) -> EngineError:
    """The error of a sample whose logits are NaN."""
    return EngineError(
        f"the model's logits are not numbers (NaN or infinite), after {generated} tokens",
        where="logits",
        hint='float16 overflows in some models: start the engine with dtype="bfloat16" or '
        '"float32". If they are not finite there either, the weights are damaged',
    )


def not_deterministic(why: str) -> NotSupportedError:
    """The error for deterministic=True on a model whose rows depend on each other."""
    return NotSupportedError(
        f"deterministic=True on this model: {why}",
        where="deterministic",
        hint="In float32, tokens already depend on prompt, parameters and seed alone, but for "
        "near-ties, which Result.near_ties counts.",
    )

"""`select`: which of several texts the model finds likeliest here, exactly.

For each choice the canonical tokens of (tail of the last constant + choice) are scored, the tail
beginning at the last stable split and never inside generated tokens; all rows in one step over the
shared prefix. The probability of a choice is the softmax of its summed raw logprobs. Where one
choice is a prefix of another, the end is scored too, for every choice: a row per end token of the
model, added up; else the shorter would win always.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidRequestError
from ..types import Hold, Result
from .backends.base import Scoring, check_result
from .choices import Evidence, mean, scores, softmax
from .content import Candidates, Content
from .expr import Select
from .session import Session


@dataclass(frozen=True)
class Choice:
    """The winner: its text, the tokens that replace the tail, and how all were judged."""

    text: str
    token_ids: list[int]
    meta: dict[str, Any]
    results: list[Result]


@dataclass(frozen=True)
class _Scored:
    logprobs: list[list[float]]
    token_ids: list[list[int]]
    sums: list[float]
    results: list[Result]


async def choose(
    session: Session,
    content: Content,
    expr: Select,
    seed: int,
    path: tuple[int, ...],
    index: int,
    deadline: float | None,
    hold: Callable[[int], tuple[Hold, ...]],
    priority: int = 0,
) -> Choice:
    """Score and choose. hold: what a prefix of so many tokens is held by. Raises what the backend
    raises."""
    candidates = content.candidates(expr.choices)
    ends = _ends(session) if has_prefix_pair(expr.choices) else []

    async def score(given: Candidates, unconditional: bool) -> _Scored:
        rows, choice_of = _rows(given, ends)
        scoring = Scoring(
            input_ids=rows,
            start=[given.start] * len(rows),
            choices=expr.choices,
            choice_of=choice_of,
            tail=given.tail,
            namespace=session.namespace,
            priority=priority,
            deadline=deadline,
            name=expr.name,
            path=path,
            index=index,
            where=str(expr.where),
            unconditional=unconditional,
            deterministic=session.deterministic,
            holds=hold(len(given.prefix)) if given.prefix and not unconditional else (),
        )
        results = await session.backend.score(scoring)
        return _gather(results, choice_of, len(expr.choices), bool(ends))

    scored = await score(candidates, False)
    unconditional = None
    if expr.method is not None and expr.method.needs_unconditional:
        unconditional = (await score(_without_prompt(candidates), True)).logprobs
    winner, judged, told = _decide(expr, scored, unconditional, seed)
    meta = {
        "probabilities": dict(zip(expr.choices, softmax(scored.sums), strict=True)),
        "logprobs": dict(zip(expr.choices, scored.sums, strict=True)),
        "scores": dict(zip(expr.choices, judged, strict=True)),
        "normalized_prompt_logprobs": [mean(row) for row in scored.logprobs],
        "input_token_logprobs": [
            list(zip(row, ids, strict=True))
            for row, ids in zip(scored.logprobs, scored.token_ids, strict=True)
        ],
        "output_token_logprobs": [[] for _ in expr.choices],
        "ends_scored": bool(ends),
        "seed": seed,
        **told,
    }
    return Choice(expr.choices[winner], candidates.rows[winner], meta, scored.results)


def has_prefix_pair(choices: Sequence[str]) -> bool:
    """Whether one choice is a prefix of another."""
    ordered = sorted(choices)
    return any(b.startswith(a) for a, b in itertools.pairwise(ordered))


def _ends(session: Session) -> list[int]:
    ends = sorted(session.backend.tokenizer.eos_ids)
    if not ends:
        raise InvalidRequestError(
            "one choice is a prefix of another, and the model has no end token to tell them apart",
            hint="Make the choices end differently, for instance with a full stop.",
        )
    return ends


def _rows(given: Candidates, ends: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    rows: list[list[int]] = []
    choice_of: list[int] = []
    for number, ids in enumerate(given.rows):
        for end in [[e] for e in ends] or [[]]:
            rows.append([*given.prefix, *ids, *end])
            choice_of.append(number)
    return rows, choice_of


def _gather(results: list[Result], choice_of: Sequence[int], count: int, ended: bool) -> _Scored:
    """Sum each row, and add up (in probability) the rows of one choice. Raises what failed."""
    logprobs: list[list[float]] = [[] for _ in range(count)]
    token_ids: list[list[int]] = [[] for _ in range(count)]
    totals: list[list[float]] = [[] for _ in range(count)]
    for result, choice in zip(results, choice_of, strict=True):
        check_result(result)
        entries = [entry for entry in result.prompt_logprobs or [] if entry is not None]
        totals[choice].append(math.fsum(entry.logprob for entry in entries))
        kept = entries[:-1] if ended else entries
        logprobs[choice] = [entry.logprob for entry in kept]
        token_ids[choice] = [entry.token_id for entry in kept]
    return _Scored(logprobs, token_ids, [_log_sum(rows) for rows in totals], results)


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    if top == -math.inf or len(values) == 1:
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def _without_prompt(given: Candidates) -> Candidates:
    """The same rows behind nothing but their own first token (or BOS)."""
    if not given.prefix:
        return given
    return Candidates(given.prefix[:1], given.rows, 1, given.tail)


def _decide(
    expr: Select,
    scored: _Scored,
    unconditional: list[list[float]] | None,
    seed: int,
) -> tuple[int, list[float], dict[str, Any]]:
    """The winner's number, the scores, and what a rule of one's own tells."""
    if expr.method is not None and expr.method.rule is not None:
        evidence = Evidence(expr.choices, scored.logprobs, scored.token_ids, unconditional)
        named, told = expr.method.rule(evidence)
        return _named(expr, named), scored.sums, told
    judged = scores(expr.method, scored.logprobs, scored.sums, unconditional)
    return _pick(judged, expr.temperature, seed), judged, {}


def _named(expr: Select, choice: str) -> int:
    if choice not in expr.choices:
        raise InvalidRequestError(
            expected=f"one of the choices from choices_method {getattr(expr.method, 'name', '')}",
            got=repr(choice)[:80],
            where=str(expr.where),
        )
    return expr.choices.index(choice)


def _pick(judged: Sequence[float], temperature: float, seed: int) -> int:
    if temperature <= 0 or len(judged) == 1:
        return max(range(len(judged)), key=lambda at: (judged[at], -at))
    weights = softmax([score / temperature for score in judged])
    return random.Random(seed).choices(range(len(judged)), weights)[0]

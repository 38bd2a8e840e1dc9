"""How `select` weighs its choices: the exact probability, or one of SGLang's three rules.

A rule sees, per choice, the natural-log probabilities of the tokens that tell the choices apart
(the tail of the constant before them, and the choice) and gives one score per choice; the highest
wins. Their definitions are those documented for SGLang's frontend, written here anew. A rule of
somebody's own sees the same (`Evidence`) and names its choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidRequestError
from .where import caller


@dataclass(frozen=True)
class Evidence:
    """What a rule of one's own sees: logprobs[c][t] of choice c's t-th token that was scored, those
    tokens' ids, and the same logprobs without the prompt if it asked."""

    choices: tuple[str, ...]
    logprobs: list[list[float]]
    token_ids: list[list[int]]
    unconditional: list[list[float]] | None = None


Rule = Callable[[Evidence], tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class ChoicesMethod:
    """A rule by name. needs_unconditional: it also wants the choices scored without the prompt.
    rule: one's own; it names its choice, and what `get_meta_info` shall tell beside the rest."""

    name: str
    needs_unconditional: bool = False
    rule: Rule | None = None


token_length_normalized = ChoicesMethod("token_length_normalized")
greedy_token_selection = ChoicesMethod("greedy_token_selection")
unconditional_likelihood_normalized = ChoicesMethod(
    "unconditional_likelihood_normalized", needs_unconditional=True
)
METHODS = {
    method.name: method
    for method in (
        token_length_normalized,
        greedy_token_selection,
        unconditional_likelihood_normalized,
    )
}


def resolve_method(method: Any) -> ChoicesMethod | None:
    """A method from its object or its name; None is the exact probability."""
    if method is None or isinstance(method, ChoicesMethod):
        return method
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    raise InvalidRequestError(
        expected="None, or one of " + ", ".join(METHODS),
        got=repr(method)[:80],
        where=f"{caller()}, choices_method",
    )


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities from summed logprobs; uniform where every choice is impossible."""
    top = max(scores)
    if top == -math.inf:
        return [1 / len(scores)] * len(scores)
    weights = [math.exp(score - top) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def scores(
    method: ChoicesMethod | None,
    logprobs: Sequence[Sequence[float]],
    sums: Sequence[float],
    unconditional: Sequence[Sequence[float]] | None,
) -> list[float]:
    """One score per choice.

    logprobs[c][t]: of choice c's t-th token; sums[c]: of the whole choice (its end too where that
    is scored); unconditional[c][t]: as logprobs, without the prompt, where the method needs it.
    """
    if method is None:
        return list(sums)
    if method.name == token_length_normalized.name:
        return [mean(row) for row in logprobs]
    if method.name == unconditional_likelihood_normalized.name:
        assert unconditional is not None
        return [mean(a) - mean(b) for a, b in zip(logprobs, unconditional, strict=True)]
    return _greedy(logprobs)


def mean(row: Sequence[float]) -> float:
    """Of a row's logprobs; 0 of none."""
    return math.fsum(row) / len(row) if row else 0.0


def _greedy(logprobs: Sequence[Sequence[float]]) -> list[float]:
    """Walk the tokens from the left and keep the choices with the likeliest token each time.

    A choice that has ended goes on with its own mean. The score is the depth at which a choice
    was dropped, then its mean: the survivor has the highest.
    """
    alive = set(range(len(logprobs)))
    dropped = [0] * len(logprobs)
    means = [mean(row) for row in logprobs]
    for depth in range(max(map(len, logprobs))):
        at = {c: logprobs[c][depth] if depth < len(logprobs[c]) else means[c] for c in alive}
        best = max(at.values())
        alive = {c for c in alive if at[c] == best}
        for c in alive:
            dropped[c] = depth + 1
        if len(alive) == 1:
            break
    return [
        depth + math.exp(min(mean, 0.0)) / 2 for depth, mean in zip(dropped, means, strict=True)
    ]

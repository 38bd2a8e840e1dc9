"""`sglang.lang.choices`: the three rules of `select` as objects to call, and own ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..frontend_lang import choices as own


@dataclass
class ChoicesDecision:
    """The choice, and what a rule tells of how it came to it."""

    decision: str
    meta_info: dict[str, Any] | None = None


class ChoicesSamplingMethod(ABC):
    """A rule of `select`: subclass it, and give an instance as `choices_method`.

    It is called with the choices, the mean log probability of each, and (logprob, token id, None)
    per token of each; output_token_logprobs is empty per choice, for none is generated.
    """

    @property
    def requires_unconditional_logprobs(self) -> bool:
        """Whether it wants the choices scored without the prompt too."""
        return False

    @abstractmethod
    def __call__(
        self,
        *,
        choices: list[str],
        normalized_prompt_logprobs: list[float],
        input_token_logprobs: list[list[Any]],
        output_token_logprobs: list[list[Any]],
        unconditional_token_logprobs: list[list[Any]] | None = None,
    ) -> ChoicesDecision: ...


class _OwnMethod(ChoicesSamplingMethod):
    """One of the three, by the frontend's own scores."""

    method: own.ChoicesMethod

    @property
    def requires_unconditional_logprobs(self) -> bool:
        return self.method.needs_unconditional

    def __call__(
        self,
        *,
        choices: list[str],
        normalized_prompt_logprobs: list[float],
        input_token_logprobs: list[list[Any]],
        output_token_logprobs: list[list[Any]],
        unconditional_token_logprobs: list[list[Any]] | None = None,
    ) -> ChoicesDecision:
        """Decide between choices that were scored elsewhere."""
        rows = [_logprobs(row) for row in input_token_logprobs]
        bare = None
        if unconditional_token_logprobs is not None:
            bare = [_logprobs(row) for row in unconditional_token_logprobs]
        elif self.requires_unconditional_logprobs:
            raise ValueError("this rule wants unconditional_token_logprobs")
        judged = own.scores(self.method, rows, [sum(row) for row in rows], bare)
        best = max(range(len(judged)), key=lambda at: (judged[at], -at))
        meta = {
            "normalized_prompt_logprobs": normalized_prompt_logprobs,
            "input_token_logprobs": input_token_logprobs,
            "output_token_logprobs": output_token_logprobs,
            "scores": judged,
        }
        return ChoicesDecision(choices[best], meta)


class TokenLengthNormalized(_OwnMethod):
    """The highest mean log probability per token."""

    method = own.token_length_normalized


class GreedyTokenSelection(_OwnMethod):
    """The likeliest first token, then the second, and so on."""

    method = own.greedy_token_selection


class UnconditionalLikelihoodNormalized(_OwnMethod):
    """The highest log probability beyond that without the prompt."""

    method = own.unconditional_likelihood_normalized


token_length_normalized = TokenLengthNormalized()
greedy_token_selection = GreedyTokenSelection()
unconditional_likelihood_normalized = UnconditionalLikelihoodNormalized()


def own_method(method: Any) -> Any:
    """What the frontend takes for a rule of this module."""
    if isinstance(method, _OwnMethod):
        return method.method
    if isinstance(method, ChoicesSamplingMethod):
        needs = method.requires_unconditional_logprobs
        return own.ChoicesMethod(type(method).__name__, needs, rule=_Called(method))
    return method


@dataclass(frozen=True)
class _Called:
    method: ChoicesSamplingMethod

    def __call__(self, evidence: own.Evidence) -> tuple[str, dict[str, Any]]:
        decision = self.method(
            choices=list(evidence.choices),
            normalized_prompt_logprobs=[own.mean(row) for row in evidence.logprobs],
            input_token_logprobs=_entries(evidence.logprobs, evidence.token_ids),
            output_token_logprobs=[[] for _ in evidence.choices],
            unconditional_token_logprobs=None
            if evidence.unconditional is None
            else _entries(evidence.unconditional, evidence.token_ids),
        )
        return decision.decision, decision.meta_info or {}


def _entries(rows: Sequence[Sequence[float]], ids: Sequence[Sequence[int]]) -> list[list[Any]]:
    """(logprob, token id, None) per token, of those at each row's end that were scored."""
    return [
        [(logprob, token, None) for logprob, token in zip(row, tokens[-len(row) :], strict=False)]
        for row, tokens in zip(rows, ids, strict=True)
    ]


def _logprobs(row: Sequence[Any]) -> list[float]:
    return [entry[0] or 0.0 for entry in row]


__all__ = [
    "ChoicesDecision",
    "ChoicesSamplingMethod",
    "GreedyTokenSelection",
    "TokenLengthNormalized",
    "UnconditionalLikelihoodNormalized",
    "greedy_token_selection",
    "token_length_normalized",
    "unconditional_likelihood_normalized",
]

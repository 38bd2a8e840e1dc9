"""What a run remembers for its report: one record per call, one node per state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import EspalierError
from ..types import Result, Times, TokenLogprob
from .tokens import Tokens

_UNTOLD = ("times", "prompt_tokens", "token_ids", "logprobs", "choices", "sources")


@dataclass
class CallRecord:
    """One call and what it cost. Token counts are sums over the rows of a select.

    began, ended: seconds from the run's start. prompt_tokens, token_ids, logprobs, choices: what
    was asked and said, for the page (report_page.py); no part of the data.
    """

    kind: Literal["gen", "select"]
    name: str | None
    where: str
    index: int
    prompt: int = 0
    cached: int = 0
    computed: int = 0
    shared: int = 0
    generated: int = 0
    requests: int = 0
    times: Times = field(default_factory=Times)
    finish_reason: str = ""
    incomplete: str | None = None
    seed: int | None = None
    near_ties: int = 0
    text: str = ""
    error: str | None = None
    began: float = 0.0
    ended: float | None = None
    prompt_tokens: Tokens | None = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    choices: dict[str, float] | None = None
    sources: tuple[int, int] = (0, 0)

    @property
    def answered_ahead(self) -> bool:
        """Whether it took no request, because an earlier call had its text written (ahead.py)."""
        return self.ended is not None and self.error is None and not self.requests

    def count(self, results: list[Result]) -> None:
        """Add up what the requests of this call report. sources: of the one that computed most, how
        many tokens of its prompt were cached, and how many a neighbour computed."""
        if results:
            most = max(results, key=lambda result: result.computed_tokens)
            self.sources = most.cached_tokens, most.shared_tokens
        for result in results:
            self.prompt += result.prompt_tokens
            self.cached += result.cached_tokens
            self.computed += result.computed_tokens
            self.shared += result.shared_tokens
            self.generated += result.generated_tokens
            self.requests += result.requests
            self.near_ties += result.near_ties
        if len(results) == 1:
            self.times = results[0].times
        elif results:
            of_all = [result.times for result in results]
            longest = {n: max(getattr(t, n) for t in of_all) for n in Times.__struct_fields__}
            self.times = Times(**longest)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        data = {key: value for key, value in self.__dict__.items() if key not in _UNTOLD}
        data["times"] = {name: getattr(self.times, name) for name in Times.__struct_fields__}
        return data


@dataclass
class Outcome:
    """What a program's function came to: what it returned, or the error that it raised."""

    ret_value: Any = None
    failure: EspalierError | None = None


@dataclass
class Node:
    """One state: its calls in order, and its forks' states in order.

    path: (number of the fork in its state, branch) per level. after: how many calls the parent had
    made when it forked. lost_tokens: sampled or computed
    tokens that a chat template rendered anew no longer contains.
    """

    path: tuple[int, ...] = ()
    after: int = 0
    calls: list[CallRecord] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)
    lost_tokens: int = 0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "path": list(self.path),
            "after": self.after,
            "lost_tokens": self.lost_tokens,
            "error": self.error,
            "calls": [call.to_dict() for call in self.calls],
            "children": [child.to_dict() for child in self.children],
        }

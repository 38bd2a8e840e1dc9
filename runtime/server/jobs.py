"""What a request asks of the engine, stage by stage, and what its stages come to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ...types import Result, SamplingParams, Times, TokenLogprob
from .stages import Stage

_SEEDS = (1 << 63) - 1
_SPREAD = 0x9E3779B97F4A7C15  # samples' later stages differ, and from those of the next seeds
_AT_ONCE = 1e-3  # seconds


@dataclass(frozen=True, kw_only=True)
class Job:
    """One prompt and its samples, or one sample from a later stage on (goes_on). owner, id: by
    which it may be aborted."""

    input_ids: list[int]
    params: SamplingParams
    stage: Stage = field(default_factory=Stage)
    namespace: str = ""
    priority: int = 0
    deadline: float | None = None
    owner: str = ""
    id: str = ""
    goes_on: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def prompt(self) -> list[int]:
        """Token ids that the stage stands behind."""
        return [*self.input_ids, *self.stage.begin]

    @property
    def left(self) -> float | None:
        """Of the deadline, all stages' together; one that has passed ends the next at once."""
        return self.deadline and max(self.deadline - (time.monotonic() - self.began), _AT_ONCE)

    @property
    def stage_params(self) -> SamplingParams:
        """The parameters of the stage's own call."""
        params, stage = self.params, self.stage
        if stage.exits:
            ids = (*params.stop_token_ids, *stage.exits)
            params = msgspec.structs.replace(params, stop_token_ids=ids)
        if stage.decides:
            params = msgspec.structs.replace(params, max_tokens=1, min_tokens=0)
        return params

    @property
    def asked(self) -> dict[str, Any]:
        """What the stage's call asks of the engine beside its prompt."""
        return {
            "sampling_params": self.stage_params,
            "grammar": None if self.stage.grammar is None else self.stage.grammar.spec,
            "namespace": self.namespace,
            "priority": self.priority,
            "deadline": self.deadline,
            "goes_on": self.goes_on,
        }

    def exited(self, result: Result) -> bool:
        """Whether a special token ended the stage."""
        return isinstance(result.matched_stop, int) and result.matched_stop in self.stage.exits

    def _wanted(self, result: Result) -> tuple[Stage, list[int], int] | None:
        """The next stage, what stands before it, and how many tokens were spent on that."""
        stage, ids, spent = self.stage, self.prompt, result.generated_tokens
        after: Stage | None = None
        if self.exited(result):
            token = result.matched_stop
            assert isinstance(token, int)
            after = stage.exits[token]()
            ids += [*result.token_ids, token]
        elif stage.decides and result.finish_reason in ("stop", "length"):
            after, spent = stage.otherwise, 0
        elif stage.then is not None and self._came_to_its_end(result):
            after = stage.then(result.text)
            ids += result.token_ids
        return None if after is None else (after, ids, spent)

    def following(self, result: Result) -> Job | None:
        """The next stage; None where the answer ends, or no token is left for more of it."""
        wanted = self._wanted(result)
        if wanted is None:
            return None
        after, ids, spent = wanted
        params, tokens = self.params, None
        if params.max_tokens is not None:
            tokens = params.max_tokens - spent
            if tokens < 1:
                return None
        params = msgspec.structs.replace(
            params,
            n=1,
            max_tokens=tokens,
            min_tokens=0,
            prompt_logprobs=None,
            seed=(result.seed ^ (result.index * _SPREAD)) & _SEEDS,
        )
        return replace(
            self,
            input_ids=ids,
            params=params,
            stage=after,
            deadline=self.left,
            goes_on=True,
            began=time.monotonic(),
        )

    def _came_to_its_end(self, result: Result) -> bool:
        """Whether the grammar's end ended it, and nothing that the request asks to stop at."""
        stop = result.matched_stop
        asked = isinstance(stop, str) or stop in self.params.stop_token_ids
        return result.finish_reason == "stop" and result.incomplete is None and not asked

    def told(self, result: Result) -> Result:
        """What of a stage's result belongs to the answer, which ends with it or goes on."""
        if self.stage.decides and not self.exited(result):
            cut = result.finish_reason in ("abort", "deadline", "error")
            return msgspec.structs.replace(
                result,
                text="",
                token_ids=[],
                generated_tokens=0,
                logprobs=None if result.logprobs is None else [],
                finish_reason=result.finish_reason if cut else "stop",
                matched_stop=None,
            )
        wanted = self._wanted(result)
        if wanted is None or (wanted[0].decides and wanted[0].otherwise is None):
            return result
        return msgspec.structs.replace(
            result, finish_reason="length", matched_stop=None, incomplete="length"
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a stage came to. tokens: how many."""

    stage: Stage
    text: str
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is new of a sample. prompt_logprobs: with the first one, if asked for. stage: the
    one that begins here. result: with its last piece."""

    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob | None] | None = None
    stage: Stage | None = None
    result: Result | None = None


def generated(piece: Piece, before: int) -> int:
    """Tokens of a sample up to a piece: the end of a text is one too, and told with the last."""
    if piece.result is not None:
        return piece.result.generated_tokens
    return before + len(piece.token_ids)


@dataclass(frozen=True)
class Answer:
    """A sample: its result, and the parts of its text."""

    result: Result
    parts: list[Part]


def joined(made: Sequence[tuple[Job, Result]]) -> Answer:
    """An answer of its stages' results. What it says of the prompt is the first's."""
    results = [job.told(result) for job, result in made]
    parts = [
        Part(stage=job.stage, text=result.text, tokens=len(result.token_ids))
        for (job, _), result in zip(made, results, strict=True)
    ]
    first, last = results[0], results[-1]
    if len(results) == 1:
        return Answer(first, parts)
    logprobs = None
    if first.logprobs is not None:
        logprobs = [entry for result in results for entry in result.logprobs or []]
    result = msgspec.structs.replace(
        last,
        index=first.index,
        text="".join(result.text for result in results),
        token_ids=[token for result in results for token in result.token_ids],
        prompt_tokens=first.prompt_tokens,
        cached_tokens=first.cached_tokens,
        computed_tokens=first.computed_tokens,
        shared_tokens=first.shared_tokens,
        generated_tokens=sum(result.generated_tokens for result in results),
        logprobs=logprobs,
        prompt_logprobs=first.prompt_logprobs,
        seed=first.seed,
        near_ties=sum(result.near_ties for result in results),
        times=_times([result.times for result in results]),
    )
    return Answer(result, parts)


def _times(each: Sequence[Times]) -> Times:
    """Until the first token as of the first; all that comes later is decoding."""
    first = each[0]
    total = sum(times.total for times in each)
    before = first.grammar + first.queued + first.prefill
    return Times(
        grammar=first.grammar,
        queued=first.queued,
        prefill=first.prefill,
        decode=max(0.0, total - before),
        total=total,
    )

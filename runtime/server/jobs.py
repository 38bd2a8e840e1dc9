"""What a request asks of the engine, run to its end or piece by piece.

A form of tool calls that begins with a special token takes two calls of the engine: free text up to
that token, then its grammar. The second finds the first's KV in the cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from ...errors import GrammarError
from ...grammar.spec import GrammarSpec
from ...types import Chunk, Result, SamplingParams, TokenLogprob
from .failures import LONGEST_MESSAGE, HTTPError
from .state import Server
from .structured import AskedGrammar

_SEEDS = (1 << 63) - 1
_AT_ONCE = 1e-3  # seconds


@dataclass(frozen=True, kw_only=True)
class Job:
    """One prompt and its samples. owner, id: by which it may be aborted. trigger: the token at
    which an answer goes on as `grammar` says; None: the grammar holds from the start."""

    input_ids: list[int]
    params: SamplingParams
    grammar: AskedGrammar | None = None
    namespace: str = ""
    priority: int = 0
    deadline: float | None = None
    trigger: int | None = None
    owner: str = ""
    id: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def first_grammar(self) -> GrammarSpec | None:
        return None if self.trigger is not None or self.grammar is None else self.grammar.spec

    @property
    def first_params(self) -> SamplingParams:
        if self.trigger is None:
            return self.params
        ids = (*self.params.stop_token_ids, self.trigger)
        return msgspec.structs.replace(self.params, stop_token_ids=ids)

    def second(self, first: Result) -> Job | None:
        """What follows the trigger; None where no token is left for it."""
        params = self.params
        left = None
        if params.max_tokens is not None:
            left = params.max_tokens - first.generated_tokens
            if left < 1:
                return None
        deadline = self.deadline
        if deadline is not None:  # of both together; one that has passed ends the second at once
            deadline = max(deadline - (time.monotonic() - self.began), _AT_ONCE)
        assert self.trigger is not None
        params = msgspec.structs.replace(
            params,
            n=1,
            max_tokens=left,
            min_tokens=0,
            prompt_logprobs=None,
            seed=(first.seed + first.index) & _SEEDS,
        )
        ids = [*self.input_ids, *first.token_ids, self.trigger]
        return Job(
            input_ids=ids,
            params=params,
            grammar=self.grammar,
            namespace=self.namespace,
            priority=self.priority,
            deadline=deadline,
            owner=self.owner,
            id=self.id,
        )


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is new of a sample. entered: behind the trigger. result: with its last piece."""

    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    entered: bool = False
    result: Result | None = None


@dataclass(frozen=True)
class Answer:
    """A sample: its result, and what of its text came behind the trigger, if one did."""

    result: Result
    calls: str | None = None


async def run(server: Server, job: Job) -> list[Answer]:
    """All samples. Raises the first error."""
    with _blamed(job), server.named.under(job.owner, job.id) as numbers:
        [result] = await server.engine.agenerate(
            input_ids=[job.input_ids],
            sampling_params=job.first_params,
            grammar=job.first_grammar,
            namespace=job.namespace,
            priority=job.priority,
            deadline=job.deadline,
            numbers=numbers,
        )
    answers = []
    for sample in result.samples or [result]:
        second = job.second(sample) if _triggered(job, sample) else None
        if second is None:
            server.metrics.ended(sample)
            answers.append(Answer(sample))
            continue
        [answer] = await run(server, second)
        answers.append(Answer(_joined(sample, answer.result), answer.result.text))
    return answers


async def run_all(server: Server, jobs: Sequence[Job]) -> list[list[Answer]]:
    """The samples of each job. The first error is raised, and ends the others."""
    tasks = [asyncio.ensure_future(run(server, job)) for job in jobs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pieces(server: Server, job: Job) -> AsyncGenerator[Piece, None]:
    """The samples as they come. Raises the first error."""
    with server.named.under(job.owner, job.id) as numbers:
        async with contextlib.aclosing(_pieces(server, job, numbers)) as stream:
            async for piece in stream:
                yield piece


async def _pieces(server: Server, job: Job, numbers: list[int]) -> AsyncGenerator[Piece, None]:
    stream = server.engine.astream(
        input_ids=job.input_ids,
        sampling_params=job.first_params,
        grammar=job.first_grammar,
        namespace=job.namespace,
        priority=job.priority,
        deadline=job.deadline,
        numbers=numbers,
    )
    entered: list[tuple[Result, Job]] = []
    async with contextlib.aclosing(stream) as chunks:  # type: ignore[type-var]
        while (chunk := await _next(job, chunks)) is not None:
            result = chunk.result
            if result is not None and _triggered(job, result):
                second = job.second(result)
                if second is not None:
                    entered.append((result, second))
                    result = None
            if result is not None:
                server.metrics.ended(result)
            yield Piece(
                index=chunk.index,
                text=chunk.text,
                token_ids=chunk.token_ids,
                logprobs=chunk.logprobs,
                result=result,
            )
    for first, second in entered:
        yield Piece(index=first.index, entered=True)
        async with contextlib.aclosing(pieces(server, second)) as more:
            async for piece in more:
                result = None if piece.result is None else _joined(first, piece.result)
                yield Piece(
                    index=first.index,
                    text=piece.text,
                    token_ids=piece.token_ids,
                    logprobs=piece.logprobs,
                    result=result,
                )


async def _next(job: Job, chunks: AsyncIterator[Chunk]) -> Chunk | None:
    with _blamed(job):
        return await anext(chunks, None)


@contextlib.contextmanager
def _blamed(job: Job) -> Iterator[None]:
    """What is wrong with a grammar is told with the field that asked for it."""
    try:
        yield
    except GrammarError as error:
        if job.grammar is None:
            raise
        field = job.grammar.blamed(error)
        raise HTTPError(
            400,
            str(error)[:LONGEST_MESSAGE],
            kind="invalid_request_error",
            code="invalid_grammar",
            param=field,
        ) from error


def _triggered(job: Job, result: Result) -> bool:
    return job.trigger is not None and result.matched_stop == job.trigger


def _joined(first: Result, second: Result) -> Result:
    """One result of both: `text` is the first's, the prompt's figures too."""
    logprobs = None
    if first.logprobs is not None and second.logprobs is not None:
        logprobs = first.logprobs + second.logprobs
    return msgspec.structs.replace(
        second,
        index=first.index,
        text=first.text,
        token_ids=first.token_ids + second.token_ids,
        prompt_tokens=first.prompt_tokens,
        cached_tokens=first.cached_tokens,
        computed_tokens=first.computed_tokens,
        shared_tokens=first.shared_tokens,
        generated_tokens=first.generated_tokens + second.generated_tokens,
        logprobs=logprobs,
        prompt_logprobs=first.prompt_logprobs,
        seed=first.seed,
    )

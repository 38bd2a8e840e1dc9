"""Jobs, run to their ends or piece by piece, stage by stage.

Metrics count them here as asked; as ended, where their answers are told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from ...errors import GrammarError
from ...types import Chunk, Result
from .failures import LONGEST_MESSAGE, HTTPError
from .jobs import Answer, Job, Piece, joined
from .merging import merged
from .named import Numbers
from .state import Server

_T = TypeVar("_T")

# -- whole -----------------------------------------------------------------------------------------


async def run(server: Server, job: Job) -> list[Answer]:
    """All samples. Raises the first error."""
    server.check_prompt(job.prompt)
    server.metrics.asked(job.params)
    with server.named.under(job.owner, job.id) as numbers:
        first = await _called(server, job, numbers)
        samples = first.samples or [first]
        if not any(job.following(sample) for sample in samples):  # nearly always
            return [joined([(job, sample)]) for sample in samples]
        return await _together([_finished(server, job, sample, numbers) for sample in samples])


async def _finished(server: Server, job: Job, sample: Result, numbers: Numbers) -> Answer:
    """A sample with all its further stages."""
    sample = _unless_aborted(job, sample, numbers)
    made = [(job, sample)]
    while (after := job.following(sample)) is not None:
        job = after
        sample = _unless_aborted(job, await _called(server, job, numbers), numbers)
        made.append((job, sample))
    return joined(made)


def _unless_aborted(job: Job, sample: Result, numbers: Numbers) -> Result:
    """A stage's result; the last one, where more would follow but the request was aborted."""
    if not numbers.aborted or job.following(sample) is None:
        return sample
    return msgspec.structs.replace(
        sample, finish_reason="abort", matched_stop=None, incomplete="abort"
    )


async def _called(server: Server, job: Job, numbers: Numbers) -> Result:
    with _blamed(job):
        [result] = await server.engine.agenerate(
            input_ids=[job.prompt], numbers=numbers, **job.asked
        )
    return result


async def run_all(server: Server, jobs: Sequence[Job]) -> list[list[Answer]]:
    """The samples of each job. The first error ends the others."""
    return await _together([run(server, job) for job in jobs])


async def _together(works: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -- streamed --------------------------------------------------------------------------------------


def all_pieces(server: Server, jobs: Sequence[Job]) -> list[AsyncGenerator[Piece, None]]:
    """The samples of each job as they come. Raises what is wrong with a prompt before any of them
    begins: later there is no status to tell it by."""
    for job in jobs:
        server.check_prompt(job.prompt)
    return [pieces(server, job) for job in jobs]


async def pieces(server: Server, job: Job) -> AsyncGenerator[Piece, None]:
    """The samples as they come. Raises the first error."""
    server.check_prompt(job.prompt)
    server.metrics.asked(job.params)
    with server.named.under(job.owner, job.id) as numbers:
        going_on: list[Result] = []
        async with contextlib.aclosing(_chunks(server, job, numbers)) as chunks:
            async for chunk in chunks:
                result = chunk.result
                if result is not None and job.following(result) is not None:
                    going_on.append(result)
                    result = None
                elif result is not None:
                    result = joined([(job, result)]).result
                if not job.stage.decides or result is not None:
                    yield _piece(job, chunk, result)
        rest = [_rest(server, job, sample, numbers) for sample in going_on]
        async with contextlib.aclosing(merged(rest)) as together:
            async for _, piece in together:
                yield piece


async def _rest(
    server: Server, job: Job, sample: Result, numbers: Numbers
) -> AsyncGenerator[Piece, None]:
    """A sample's further stages."""
    sample = _unless_aborted(job, sample, numbers)
    index, made = sample.index, [(job, sample)]
    while (after := job.following(sample)) is not None:
        job = after
        yield Piece(index=index, stage=job.stage)
        async with contextlib.aclosing(_chunks(server, job, numbers)) as chunks:
            async for chunk in chunks:
                sample = chunk.result or sample
                if not job.stage.decides:
                    yield replace(_piece(job, chunk, None), index=index)
        sample = _unless_aborted(job, sample, numbers)
        made.append((job, sample))
    yield Piece(index=index, result=joined(made).result)


async def _chunks(server: Server, job: Job, numbers: Numbers) -> AsyncGenerator[Chunk, None]:
    stream: AsyncIterator[Chunk] = server.engine.astream(
        input_ids=job.prompt, numbers=numbers, **job.asked
    )
    async with contextlib.aclosing(stream) as chunks:  # type: ignore[type-var]
        while True:
            with _blamed(job):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk


def _piece(job: Job, chunk: Chunk, result: Result | None) -> Piece:
    if job.stage.decides:
        return Piece(index=chunk.index, result=result)
    return Piece(
        index=chunk.index,
        text=chunk.text,
        token_ids=chunk.token_ids,
        logprobs=chunk.logprobs,
        prompt_logprobs=chunk.prompt_logprobs,
        result=result,
    )


# -- both -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _blamed(job: Job) -> Iterator[None]:
    """What is wrong with a grammar is told with the field that asked for it."""
    try:
        yield
    except GrammarError as error:
        if job.stage.grammar is None:
            raise
        field = job.stage.grammar.blamed(error)
        raise HTTPError(
            400,
            str(error)[:LONGEST_MESSAGE],
            kind="invalid_request_error",
            code="invalid_grammar",
            param=field,
        ) from error

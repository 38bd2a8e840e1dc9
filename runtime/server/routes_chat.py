"""POST /v1/chat/completions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...errors import InvalidRequestError, NotSupportedError
from ...types import Result
from .access import GuardedRoute
from .answering import DONE, answered, begun, event, model_response
from .api_chat import (
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChunkChoice,
    Delta,
    FunctionCallDelta,
    FunctionCallReply,
    ReplyMessage,
    ToolCallDelta,
    ToolCallReply,
)
from .asked import namespace_of, sampling_of
from .chat_history import history
from .jobs import Answer, Job, Piece, pieces, run
from .replies import (
    ChoiceLogprobs,
    choice_logprobs,
    finish_of,
    prompt_logprobs,
    usage_of,
)
from .state import Server, server_of
from .structured import grammar_of
from .tool_parser import Arguments, CallBegins, Content, Piece as TextPiece, joined
from .tool_plan import ToolPlan, plan_tools

router = APIRouter(route_class=GuardedRoute)
_TEMPLATE_OWN = ("messages", "tools", "documents", "add_generation_prompt")


@dataclass(frozen=True)
class Chat:
    """A checked request: what the engine is to do, and how its answer is told."""

    id: str
    created: int
    server: Server
    asked: ChatRequest
    job: Job
    plan: ToolPlan | None

    @property
    def top(self) -> int:
        """Alternatives per token."""
        return self.asked.top_logprobs or 0

    def logprobs(self, told: list[Any] | None) -> ChoiceLogprobs | None:
        """Log probabilities, where they are asked for."""
        if not self.asked.logprobs:
            return None
        return choice_logprobs(self.server.tokenizer, told or [], self.top)


@router.post("/v1/chat/completions", response_model=ChatCompletion)
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """A chat completion; with `stream`, server-sent events of `ChatChunk`."""
    server = server_of(request)
    server.check_model(body.model)
    if body.stream:
        limits = server.settings.limits
        return await begun(request, _events(request, body), limits.send_seconds)
    return await answered(request, _whole(request, body))


async def _prepared(server: Server, asked: ChatRequest, request: Request) -> Chat:
    limits = server.settings.limits
    if asked.stream_options is not None and not asked.stream:
        raise InvalidRequestError(expected="stream: true beside it", where="stream_options")
    if asked.top_logprobs and not asked.logprobs:
        raise InvalidRequestError(expected="logprobs: true beside it", where="top_logprobs")
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise InvalidRequestError(
            expected="one of max_tokens and max_completion_tokens", where="max_completion_tokens"
        )
    params = sampling_of(
        asked,
        limits,
        max_tokens=asked.max_tokens
        if asked.max_completion_tokens is None
        else asked.max_completion_tokens,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
    )
    tokenizer = server.tokenizer
    grammar = grammar_of(asked, limits.grammar_chars)
    plan = plan_tools(asked, tokenizer, limits)
    if plan is not None and grammar is not None:
        raise NotSupportedError(
            "tools beside another grammar",
            where="tools",
            hint='Give one of them, or tool_choice "none".',
        )
    variables = _variables(asked, server)

    def encode() -> list[int]:
        messages = history(asked.messages, tokenizer, () if plan is None else plan.specs)
        tools = None if plan is None else plan.for_template
        return tokenizer.encode_chat(messages, add_generation_prompt=True, tools=tools, **variables)

    ids = await server.beside(encode)
    id = f"chatcmpl-{asked.request_id or uuid4().hex}"
    job = Job(
        input_ids=[*ids, *(plan.begin if plan else ())],
        params=params,
        grammar=plan.grammar if plan else grammar,
        namespace=namespace_of(request, asked.cache_salt),
        priority=asked.priority or 0,
        deadline=asked.deadline,
        trigger=plan.trigger if plan else None,
        owner=request.state.caller.namespace,
        id=id,
    )
    return Chat(id, int(time.time()), server, asked, job, plan)


def _variables(asked: ChatRequest, server: Server) -> dict[str, Any]:
    """Variables of the model's own template. Raises for those that it would not read."""
    given = dict(asked.chat_template_kwargs or {})
    if asked.reasoning_effort is not None:
        given["reasoning_effort"] = asked.reasoning_effort
    template = server.tokenizer.chat_template
    for name in given:
        if name in _TEMPLATE_OWN or template is None or not template.reads(name):
            where = "reasoning_effort" if name == "reasoning_effort" else "chat_template_kwargs"
            raise NotSupportedError(
                f"the model's chat template does not read {name[:80]!r}", where=where
            )
    return given


# -- whole -----------------------------------------------------------------------------------------


async def _whole(request: Request, asked: ChatRequest) -> Response:
    server = server_of(request)
    with server.admission.entered(asked.n or 1):
        chat = await _prepared(server, asked, request)
        answers = await run(server, chat.job)
    results = [answer.result for answer in answers]
    reply = ChatCompletion(
        id=chat.id,
        object="chat.completion",
        created=chat.created,
        model=server.model_name,
        choices=[_choice(chat, number, answer) for number, answer in enumerate(answers)],
        usage=usage_of([results]),
    )
    if asked.prompt_logprobs is not None:
        reply.prompt_logprobs = prompt_logprobs(server.tokenizer, results[0])
    return model_response(reply)


def _choice(chat: Chat, index: int, answer: Answer) -> ChatChoice:
    result = answer.result
    content: str | None = result.text
    calls: list[tuple[str, str]] = []
    if chat.plan is not None:
        parser = chat.plan.parser()
        told: list[TextPiece] = parser.feed(result.text)
        if answer.calls is not None:
            told += parser.enter() + parser.feed(answer.calls)
        content, calls = joined(told + parser.finish())
    message = ReplyMessage(role="assistant", content=content, refusal=None)
    if calls:
        assert chat.plan is not None
        message.tool_calls = [
            ToolCallReply(
                id=chat.plan.call_id(),
                type="function",
                function=FunctionCallReply(name=name, arguments=arguments),
            )
            for name, arguments in calls
        ]
    reason, stop_reason = finish_of(result)
    choice = ChatChoice(
        index=index,
        message=message,
        logprobs=chat.logprobs(result.logprobs),
        finish_reason="tool_calls" if calls and reason == "stop" else reason,
        stop_reason=stop_reason,
    )
    if result.incomplete is not None:
        choice.incomplete = result.incomplete
    return choice


# -- streamed --------------------------------------------------------------------------------------


async def _events(request: Request, asked: ChatRequest) -> AsyncGenerator[bytes, None]:
    server = server_of(request)
    options = asked.stream_options
    with server.admission.entered(asked.n or 1):
        chat = await _prepared(server, asked, request)
        telling = Telling(chat)
        async with contextlib.aclosing(pieces(server, chat.job)) as stream:
            async for piece in stream:
                for told in telling.piece(piece):
                    yield event(told)
    if options is not None and options.include_usage:
        chunk = telling.chunk([])
        chunk.usage = usage_of([telling.results])
        yield event(chunk)
    yield DONE


class Telling:
    """Makes the events of a streamed chat completion."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        count = chat.job.params.n
        plan = chat.plan
        self._parsers = [plan.parser() if plan else None for _ in range(count)]
        self._begun = [False] * count
        self._logprobs: list[list[Any]] = [[] for _ in range(count)]
        self.results: list[Result] = []
        options = chat.asked.stream_options
        self._null_usage = bool(options and options.include_usage)

    def chunk(self, choices: list[ChunkChoice]) -> ChatChunk:
        chat = self._chat
        chunk = ChatChunk(
            id=chat.id,
            object="chat.completion.chunk",
            created=chat.created,
            model=chat.server.model_name,
            choices=choices,
        )
        if self._null_usage:
            chunk.usage = None
        return chunk

    def piece(self, piece: Piece) -> list[ChatChunk]:
        """The events that a piece of a sample makes."""
        index = piece.index
        chunks = []
        if not self._begun[index]:
            self._begun[index] = True
            chunks.append(self._delta(index, Delta(role="assistant", content="")))
        self._logprobs[index] += piece.logprobs or []
        deltas = self._deltas(piece)
        chunks += [self._delta(index, delta) for delta in deltas]
        if piece.result is not None:
            self.results.append(piece.result)
            chunks.append(self._last(index, piece.result))
        return chunks

    def _deltas(self, piece: Piece) -> list[Delta]:
        parser = self._parsers[piece.index]
        if parser is None:
            return [Delta(content=piece.text)] if piece.text or piece.logprobs else []
        told = parser.enter() if piece.entered else parser.feed(piece.text)
        if piece.result is not None:
            told += parser.finish()
        return [self._told(part) for part in told]

    def _told(self, part: TextPiece) -> Delta:
        if isinstance(part, Content):
            return Delta(content=part.text)
        if isinstance(part, CallBegins):
            assert self._chat.plan is not None
            call = ToolCallDelta(
                index=part.index,
                id=self._chat.plan.call_id(),
                type="function",
                function=FunctionCallDelta(name=part.name, arguments=""),
            )
        else:
            assert isinstance(part, Arguments)
            function = FunctionCallDelta(arguments=part.text)
            call = ToolCallDelta(index=part.index, function=function)
        return Delta(tool_calls=[call])

    def _delta(self, index: int, delta: Delta) -> ChatChunk:
        logprobs = None
        if self._logprobs[index] and delta.role is None:
            logprobs = self._chat.logprobs(self._logprobs[index])
            self._logprobs[index] = []
        choice = ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=None)
        return self.chunk([choice])

    def _last(self, index: int, result: Result) -> ChatChunk:
        reason, stop_reason = finish_of(result)
        parser = self._parsers[index]
        if parser is not None and parser.calls and reason == "stop":
            reason = "tool_calls"
        logprobs = self._chat.logprobs(self._logprobs[index]) if self._logprobs[index] else None
        choice = ChunkChoice(
            index=index,
            delta=Delta(),
            logprobs=logprobs,
            finish_reason=reason,
            stop_reason=stop_reason,
        )
        if result.incomplete is not None:
            choice.incomplete = result.incomplete
        return self.chunk([choice])

"""How a chat completion is told: whole, or in the events of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...types import Result
from .answer_pieces import CallBegins, Content, Piece as Told, Reasoning, joined
from .api_chat import (
    ChatChoice,
    ChatChunk,
    ChunkChoice,
    Delta,
    FunctionCallDelta,
    FunctionCallReply,
    ReplyMessage,
    ToolCallDelta,
    ToolCallReply,
)
from .chat_job import Chat
from .jobs import Answer, Piece, generated
from .replies import CompletionTokensDetails, Usage, finish_of, usage_of, usage_so_far


def chat_usage(chat: Chat, results: Sequence[Result], staged: int) -> Usage:
    """What all samples cost; with reasoning tokens, where the model is one that reasons. staged:
    tokens of stages that are reasoning."""
    usage = usage_of([results])
    if chat.server.dialect.marks is not None:
        plan, tokenizer, count = chat.reasoning, chat.server.tokenizer, staged
        if plan is not None and plan.ids is None:
            count += sum(plan.tokens(tokenizer, result.token_ids) for result in results)
        usage.completion_tokens_details = CompletionTokensDetails(reasoning_tokens=count)
    return usage


def whole_usage(chat: Chat, answers: Sequence[Answer]) -> Usage:
    """The same of answers that are told whole."""
    parts = [part for answer in answers for part in answer.parts]
    staged = sum(part.tokens for part in parts if part.stage.kind == "reasoning")
    return chat_usage(chat, [answer.result for answer in answers], staged)


def chat_choice(chat: Chat, index: int, answer: Answer) -> ChatChoice:
    """A sample, told whole."""
    result = answer.result
    message = ReplyMessage(role="assistant", content=result.text, refusal=None)
    parser = chat.parser()
    calls: list[tuple[str, str]] = []
    if parser is not None:
        pieces: list[Told] = []
        for number, part in enumerate(answer.parts):
            pieces += parser.enter(part.stage) if number else []
            pieces += parser.feed(part.text)
        told = joined(pieces + parser.finish())
        message.content, calls = told.content, told.calls
        if told.reasoning is not None:
            message.reasoning = message.reasoning_content = told.reasoning
    if calls:
        message.tool_calls = [_call(chat, name, arguments) for name, arguments in calls]
    reason, stop_reason = finish_of(result, chat.job.params, chat.server.tokenizer)
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


def _call(chat: Chat, name: str, arguments: str) -> ToolCallReply:
    assert chat.tools is not None
    function = FunctionCallReply(name=name, arguments=arguments)
    return ToolCallReply(id=chat.tools.call_id(), type="function", function=function)


class Telling:
    """Makes the events of a streamed chat completion."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        count = chat.job.params.n
        self._parsers = [chat.parser() for _ in range(count)]
        self._begun = [False] * count
        self._logprobs: list[list[Any]] = [[] for _ in range(count)]
        self._stages = [chat.job.stage] * count
        self._reasoned = 0  # tokens of stages that are reasoning
        self._results: list[Result] = []
        options = chat.asked.stream_options
        self._null_usage = bool(options and options.include_usage)
        self._so_far = self._null_usage and bool(options and options.continuous_usage_stats)
        self._counts = [0] * count

    def chunk(self, choices: list[ChunkChoice]) -> ChatChunk:
        """An event."""
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

    def usage(self) -> Usage:
        """What all of it cost, once it is told."""
        return chat_usage(self._chat, self._results, self._reasoned)

    def piece(self, piece: Piece) -> list[ChatChunk]:
        """The events that a piece of a sample makes."""
        index = piece.index
        chunks = []
        if not self._begun[index]:
            self._begun[index] = True
            chunks.append(self._delta(index, Delta(role="assistant", content=None)))
        self._stages[index] = piece.stage or self._stages[index]
        if self._stages[index].kind == "reasoning":
            self._reasoned += len(piece.token_ids)
        self._counts[index] = generated(piece, self._counts[index])
        self._logprobs[index] += piece.logprobs or []
        deltas = self._deltas(piece)
        chunks += [self._delta(index, delta) for delta in deltas]
        if piece.result is not None:
            self._results.append(piece.result)
            chunks.append(self._last(index, piece.result))
        return chunks

    def _deltas(self, piece: Piece) -> list[Delta]:
        parser = self._parsers[piece.index]
        if parser is None:
            return [Delta(content=piece.text)] if piece.text or piece.logprobs else []
        told = [] if piece.stage is None else parser.enter(piece.stage)
        told += parser.feed(piece.text)
        if piece.result is not None:
            told += parser.finish()
        return [self._told(part) for part in told]

    def _told(self, part: Told) -> Delta:
        if isinstance(part, Content):
            return Delta(content=part.text)
        if isinstance(part, Reasoning):
            return Delta(reasoning=part.text, reasoning_content=part.text)
        if isinstance(part, CallBegins):
            assert self._chat.tools is not None
            call = ToolCallDelta(
                index=part.index,
                id=self._chat.tools.call_id(),
                type="function",
                function=FunctionCallDelta(name=part.name, arguments=""),
            )
        else:
            function = FunctionCallDelta(arguments=part.text)
            call = ToolCallDelta(index=part.index, function=function)
        return Delta(tool_calls=[call])

    def _delta(self, index: int, delta: Delta) -> ChatChunk:
        logprobs = None
        if self._logprobs[index] and delta.role is None:
            logprobs = self._chat.logprobs(self._logprobs[index])
            self._logprobs[index] = []
        choice = ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=None)
        return self._of_sample(choice)

    def _of_sample(self, choice: ChunkChoice) -> ChatChunk:
        chunk = self.chunk([choice])
        if self._so_far:
            length = len(self._chat.job.input_ids)
            chunk.usage = usage_so_far(length, self._counts[choice.index])
        return chunk

    def _last(self, index: int, result: Result) -> ChatChunk:
        chat = self._chat
        reason, stop_reason = finish_of(result, chat.job.params, chat.server.tokenizer)
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
        return self._of_sample(choice)

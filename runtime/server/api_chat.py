"""What /v1/chat/completions takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from .asked import SamplingFields
from .chat_messages import Messages, ToolName
from .fields import Fields, Objects, Refusals
from .replies import ChoiceLogprobs, Finish, Usage


class FunctionTool(Fields):
    """parameters: a JSON schema of an object. strict: true (the default here) refuses what cannot
    be enforced exactly; false enforces the rest."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Fields):
    type: Literal["function"]
    function: FunctionTool


class NamedFunction(Fields):
    name: str


class NamedTool(Fields):
    type: Literal["function"]
    function: NamedFunction


class ChatRequest(SamplingFields):
    """A chat completion. chat_template_kwargs: further variables of the model's own template.

    continue_final_message: the answer goes on where the last message, the assistant's, ends.

    separate_reasoning: reasoning apart from content (the default), or in it as the model wrote it.
    include_reasoning: false leaves it out. stream_reasoning: false tells it in one piece."""

    messages: Messages
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    tools: Objects[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    separate_reasoning: bool | None = None
    include_reasoning: bool | None = None
    stream_reasoning: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    refused: ClassVar[Refusals] = {**Fields.refused, "echo": ((None, False), "use /v1/completions")}


class FunctionCallReply(BaseModel):
    name: str
    arguments: str


class ToolCallReply(BaseModel):
    id: str
    type: Literal["function"]
    function: FunctionCallReply


class ReplyMessage(BaseModel):
    """reasoning, and the same as reasoning_content: where a model reasoned before it answered."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallReply] | None = None


class ChatChoice(BaseModel):
    """stop_reason: the stop string or id that ended the text, or "deadline". incomplete: why a text
    is not a sentence of its grammar, where one was asked for."""

    index: int
    message: ReplyMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish
    stop_reason: str | int | None = None
    incomplete: str | None = None


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_logprobs: list[dict[str, Any] | None] | None = None


class FunctionCallDelta(BaseModel):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(BaseModel):
    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCallDelta


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(BaseModel):
    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish | None
    stop_reason: str | int | None = None
    incomplete: str | None = None


class ChatChunk(BaseModel):
    """One event of a streamed chat completion; the last event is `[DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None

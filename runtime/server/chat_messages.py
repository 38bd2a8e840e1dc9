"""The messages of a chat completion, checked, and as chat templates read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import BeforeValidator, Field

from ...errors import InvalidRequestError, NotSupportedError
from ..tokenizer import Tokenizer
from .fields import Fields, Many, Refusals
from .tool_detection import Written

MOST_MESSAGES = 10_000
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class ContentPart(Fields):
    """A piece of a content: text."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None
    video_url: Any = None
    audio_url: Any = None
    input_audio: Any = None
    file: Any = None


class CalledFunction(Fields):
    """parsed_arguments: what openai's client makes of `arguments`; it says nothing more."""

    name: ToolName
    arguments: str | dict[str, Any]
    parsed_arguments: Any = None


class ToolCall(Fields):
    """A call that the assistant made earlier. index is what streams tell, provider_specific_fields
    what litellm notes for itself; they mean nothing here."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None
    provider_specific_fields: Any = None


class Message(Fields):
    """One message. `name`, reasoning and tool calls stand where the model's template puts them.
    parsed (what openai's client makes of `content`) and provider_specific_fields (litellm's own
    note) say nothing more."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Many[ContentPart] | None = None
    name: str | None = None
    tool_calls: Many[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    parsed: Any = None
    provider_specific_fields: Any = None

    refused: ClassVar[Refusals] = {
        "function_call": ((None,), "use tool_calls"),
        "audio": ((None,), "models run on text alone here"),
        "refusal": ((None,), "put it into content"),
        "annotations": ((None, []), "leave it out"),
    }


def _count(messages: Any) -> Any:
    """Bound what stands inside of messages, before any of it is looked at closely."""
    if not isinstance(messages, list):
        return messages
    lists = (
        message.get(name)
        for message in messages[: MOST_MESSAGES + 1]
        if isinstance(message, dict)
        for name in ("content", "tool_calls")
    )
    inside = sum(len(items) for items in lists if isinstance(items, list))
    if inside > MOST_MESSAGES:
        raise InvalidRequestError(
            expected=f"at most {MOST_MESSAGES:,} parts and tool calls in all messages",
            got=f"{inside:,}",
            where="messages",
        )
    return messages


Messages = Annotated[Many[Message], Field(max_length=MOST_MESSAGES), BeforeValidator(_count)]


def template_messages(
    messages: Sequence[Message], tokenizer: Tokenizer, written: Written | None = None
) -> list[dict[str, Any]]:
    """The messages as plain data. Raises InvalidRequestError or NotSupportedError, naming the
    message. written: how the template writes calls; None: with arguments as objects."""
    if not messages:
        raise InvalidRequestError(expected="at least one message", where="messages")
    template = tokenizer.chat_template
    as_text = written is not None and written.arguments_as_text
    knows_developer = template is not None and template.names("developer")
    plain = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        role: str = message.role
        if role == "developer" and not knows_developer:
            role = "system"
        made: dict[str, Any] = {"role": role, "content": _text(message, where)}
        for name in ("name", "tool_call_id", "reasoning"):
            if (value := getattr(message, name)) is not None:
                made[name] = value
        if message.reasoning_content is not None:
            made["reasoning_content"] = message.reasoning_content
        if message.tool_calls:
            if role != "assistant":
                raise InvalidRequestError(
                    expected="tool calls of the assistant alone", where=f"{where}.tool_calls"
                )
            made["tool_calls"] = [
                _call(call, f"{where}.tool_calls[{i}]", as_text=as_text)
                for i, call in enumerate(message.tool_calls)
            ]
            if written is not None and not made["content"]:
                made["content"] = written.content
        elif message.content is None and role != "assistant":
            raise InvalidRequestError(expected="a content", got="null", where=f"{where}.content")
        elif message.content is None:
            made["content"] = ""
        plain.append(made)
    return plain


def _text(message: Message, where: str) -> str | None:
    content = message.content
    if content is None or isinstance(content, str):
        return content
    texts = []
    for number, part in enumerate(content):
        text = part.text if part.type == "text" else part.refusal
        if part.type not in ("text", "refusal"):
            raise NotSupportedError(
                f"content of type {part.type[:40]!r}: models run on text alone here",
                where=f"{where}.content[{number}]",
                hint="Leave it out, or say in text what it shows.",
            )
        if text is None:
            raise InvalidRequestError(expected="a text", where=f"{where}.content[{number}].text")
        texts.append(text)
    return "".join(texts)


def _call(call: ToolCall, where: str, *, as_text: bool) -> dict[str, Any]:
    said = call.function.arguments
    arguments: Any = said
    if isinstance(said, str):
        try:
            arguments = msgspec.json.decode(said) if said.strip() else {}
        except (msgspec.DecodeError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(
            expected="the arguments as a JSON object", where=f"{where}.function.arguments"
        )
    if as_text:
        arguments = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}

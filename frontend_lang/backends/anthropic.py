"""Anthropic's API as a backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from ...errors import APIError, InvalidRequestError, NotSupportedError, ServerError
from ...types import FinishReason, SamplingParams
from ..clock import Clock
from .api import APIBackend
from .api_formats import format_of
from .api_parts import Answer, Ask, Delta, Reply, Usage
from .base import Call
from .transcript import transcript

_KNOWN = ("max_tokens", "temperature", "top_p", "top_k", "stop", "n", "seed")
_FINISHED: dict[str | None, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


class Anthropic(APIBackend):
    """Runs programs on a model behind Anthropic's API (or a server's that speaks it).

        backend = esp.Anthropic("claude-sonnet-4-5")

    continues: the model goes on with an assistant's message that the program has begun; False for
    models that do not, where a gen must open the message or be asked for with
    `@function(num_api_spec_tokens=...)`. extra_body: fields for every request. timeout, retries: as
    of `OpenAI`. Further keywords are the package's own (base_url, api_key, ...).

    What the API has no word for is refused by name, a seed that the program names too. Newer models
    take no temperature: run with temperature=1, which is not sent. A stop string of blanks, which
    the API does not take, ends the stream here. n samples are n requests. Raises NotSupportedError
    where the package anthropic is not installed.
    """

    takes_n: ClassVar[bool] = False

    def __init__(
        self,
        model: str,
        *,
        timeout: float = 600.0,
        retries: int = 3,
        continues: bool = True,
        extra_body: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        **client: Any,
    ) -> None:
        self.continues = continues
        self.extra_body = dict(extra_body or {})
        super().__init__(
            model,
            "anthropic",
            "AsyncAnthropic",
            client,
            chat=True,
            timeout=timeout,
            retries=retries,
            clock=clock,
        )

    def ask(self, call: Call) -> Ask:
        """The call as fields of messages."""
        self.refuse_unknown(call, _KNOWN)
        params = call.params
        if call.seeded:
            raise NotSupportedError(
                f"{self.api} has no seed", where=call.where, hint="Leave it out."
            )
        if params.max_tokens is None:
            raise InvalidRequestError(
                expected=f"max_tokens, which {self.api} wants", got="None", where=call.where
            )
        chat = transcript(self.tokenizer, call.input_ids, call.where)
        begun, wrapped = "", False
        messages = [message for message in chat.messages if message["role"] != "system"]
        system = chat.messages[: len(chat.messages) - len(messages)]
        if any(message["role"] != "system" for message in system):
            raise NotSupportedError(
                f"{self.api} takes system messages at the beginning alone", where=call.where
            )
        if chat.open and self.continues:
            messages.append({"role": "assistant", "content": chat.open})
        elif chat.open:
            begun = self.whole_message(call, chat.open)
        fields: dict[str, Any] = {"model": self.model, "messages": messages}
        fields["max_tokens"] = params.max_tokens + len(begun.encode())
        if system:
            fields["system"] = "\n\n".join(message["content"] for message in system)
        cuts = tuple(stop for stop in params.stop if not stop.strip())
        if params.stop and not cuts:
            fields["stop_sequences"] = list(params.stop)
        more = {**self._sampling(params), **self.extra_body}
        if call.grammar is not None:
            found = format_of(call.grammar, self.api, call.where)
            wrapped = found.wrapped
            shape = {"type": "json_schema", "schema": found.schema}
            more["output_config"] = {**more.get("output_config", {}), "format": shape}
        if more:
            fields["extra_body"] = more
        return Ask(call, fields, params.stop if cuts else (), begun, wrapped)

    def _sampling(self, params: SamplingParams) -> dict[str, Any]:
        """What is not as the API has it by default; the package does not know all of it."""
        plain = SamplingParams(temperature=1.0)
        return {
            name: getattr(params, name)
            for name in ("temperature", "top_p", "top_k")
            if getattr(params, name) != getattr(plain, name)
        }

    async def send(self, ask: Ask) -> Reply:
        """The whole answer."""
        told = await self.line.here().messages.create(**ask.fields)
        text = "".join(block.text for block in told.content if block.type == "text")
        answer = Answer(text, self._finished(told.stop_reason), told.stop_sequence)
        return Reply([answer], _usage(told.usage))

    async def open(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer as a stream. Its first piece tells the prompt's tokens."""
        stream = await self.line.here().messages.create(stream=True, **ask.fields)
        ended = False
        try:
            async for event in stream:
                if event.type == "message_start":
                    told = _usage(event.message.usage)
                    yield Delta(usage=Usage(told.prompt, told.cached))
                elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                    yield Delta(event.delta.text)
                elif event.type == "message_delta":
                    reason = self._finished(event.delta.stop_reason)
                    ended = True
                    generated = Usage(generated=event.usage.output_tokens or 0)
                    stop = event.delta.stop_sequence
                    yield Delta(finish_reason=reason, matched_stop=stop, usage=generated)
        finally:
            await stream.close()
        if not ended:
            raise ServerError(f"{self.api} broke its stream off", where=ask.call.where)

    def _finished(self, reason: str | None) -> FinishReason:
        if reason not in _FINISHED:
            raise APIError(f"{self.api} ended the answer early", got=f"stop_reason {reason!r}")
        return _FINISHED[reason]


def _usage(told: Any) -> Usage:
    """As in OpenAI's counting: of the prompt's tokens, `cached` are those that the cache had."""
    read = getattr(told, "cache_read_input_tokens", None) or 0
    written = getattr(told, "cache_creation_input_tokens", None) or 0
    return Usage((told.input_tokens or 0) + read + written, read, told.output_tokens or 0)

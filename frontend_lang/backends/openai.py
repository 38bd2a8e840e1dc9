"""OpenAI's API as a backend, and every server that speaks it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from ...errors import APIError, InvalidRequestError, NotSupportedError, ServerError
from ...types import FinishReason, Result, SamplingParams, TokenLogprob
from ..clock import Clock
from .api import APIBackend
from .api_formats import format_of
from .api_parts import Answer, Ask, Delta, Reply, Usage
from .base import Call, Scoring
from .transcript import transcript

COMPLETION_MODELS = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")
_MOST_STOPS = 4
_KNOWN = (
    "max_tokens", "temperature", "top_p", "stop", "presence_penalty", "frequency_penalty",
    "logit_bias", "seed", "n", "logprobs",
)  # fmt: skip
_EXTENSIONS = ("top_k", "min_p", "min_tokens", "repetition_penalty", "ignore_eos", "stop_token_ids")
_STRUCTURED = {"regex": "regex", "json_schema": "json", "ebnf": "grammar", "choices": "choice"}
_FINISHED: dict[str | None, FinishReason] = {None: "stop", "stop": "stop", "length": "length"}
_BYTES = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")


class OpenAI(APIBackend):
    """Runs programs on a model behind OpenAI's API, or a server's that speaks it.

        backend = esp.OpenAI("gpt-4o-mini")
        backend = esp.OpenAI("llama", base_url="http://localhost:8000/v1", extensions="vllm")

    is_chat_model: whether the model speaks in messages; by default all but OpenAI's few completion
    models do. In messages a gen must open the assistant's turn; behind text of the turn it needs
    `continues` (the server goes on with a message that is begun: `espalier serve`, vLLM, SGLang) or
    `@function(num_api_spec_tokens=...)`. extensions: "vllm" for servers that know vLLM's further
    parameters and grammars, `espalier serve` among them. extra_body: fields for every request.
    timeout: seconds for a request or a piece of a stream. retries: after 429, 5xx, a lost
    connection or a timeout, with growing pauses or those that the API asks for.
    Further keywords are the package's own (base_url, api_key, organization, ...; with
    is_azure=True azure_endpoint, api_version, ...).

    What the API has no word for is refused by name. Tokens are counted as the API bills them. A
    seed is sent, and kept by the API as far as it does. Raises NotSupportedError where the package
    openai is not installed.
    """

    takes_n: ClassVar[bool] = True

    def __init__(
        self,
        model: str,
        is_chat_model: bool | None = None,
        chat_template: None = None,
        is_azure: bool = False,
        *,
        timeout: float = 600.0,
        retries: int = 3,
        continues: bool = False,
        extensions: Literal["vllm"] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        **client: Any,
    ) -> None:
        if chat_template is not None:
            raise NotSupportedError(
                "the API renders messages itself, by the model's own template",
                where="chat_template",
                hint="Leave it out; or write the turns as text for a completion model.",
            )
        if extensions not in (None, "vllm"):
            raise InvalidRequestError(
                expected="None or 'vllm'", got=repr(extensions), where="extensions"
            )
        self.is_chat_model = (
            model not in COMPLETION_MODELS if is_chat_model is None else is_chat_model
        )
        self.continues = continues
        self.extensions = extensions is not None
        self.extra_body = dict(extra_body or {})
        super().__init__(
            model,
            "openai",
            "AsyncAzureOpenAI" if is_azure else "AsyncOpenAI",
            client,
            chat=self.is_chat_model,
            timeout=timeout,
            retries=retries,
            clock=clock,
        )

    # -- a request ---------------------------------------------------------------------------------

    def ask(self, call: Call) -> Ask:
        """The call as fields of chat.completions or completions."""
        self.refuse_unknown(call, (*_KNOWN, *(_EXTENSIONS if self.extensions else ())))
        params = call.params
        fields = {"model": self.model, **self._sampling(params)}
        more = {**self._extended(params), **self.extra_body}
        cuts = params.stop if len(params.stop) > _MOST_STOPS and not self.extensions else ()
        if params.stop and not cuts:
            fields["stop"] = list(params.stop)
        if params.n > 1 and not cuts:
            fields["n"] = params.n
        begun, wrapped = "", False
        if self.is_chat_model:
            chat = transcript(self.tokenizer, call.input_ids, call.where)
            fields["messages"] = chat.messages
            if chat.open and self.continues:
                fields["messages"] = [*chat.messages, _assistant(chat.open)]
                more |= {"continue_final_message": True, "add_generation_prompt": False}
            elif chat.open:
                begun = self.whole_message(call, chat.open)
        else:
            fields["prompt"] = self.tokenizer.decode(call.input_ids)
        if params.max_tokens is not None:
            fields[self._limit()] = params.max_tokens + len(begun.encode())
        elif not self.is_chat_model:  # the API's own default is 16
            raise InvalidRequestError(
                expected="max_tokens, which a completion wants", got="None", where=call.where
            )
        if call.grammar is not None:
            wrapped = self._constrain(call, fields, more)
        if more:
            fields["extra_body"] = more
        return Ask(call, fields, cuts, begun, wrapped)

    def _limit(self) -> str:
        """OpenAI's reasoning models take no `max_tokens`; other servers may know it alone."""
        own = self.is_chat_model and "api.openai.com" in self.line.base_url
        return "max_completion_tokens" if own else "max_tokens"

    def _sampling(self, params: SamplingParams) -> dict[str, Any]:
        """What is not as the API has it by default."""
        plain = SamplingParams(temperature=1.0)
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")
        fields: dict[str, Any] = {
            name: getattr(params, name)
            for name in names
            if getattr(params, name) != getattr(plain, name)
        }
        if params.logit_bias:
            fields["logit_bias"] = {
                str(token): max(bias, -100.0) for token, bias in params.logit_bias.items()
            }
        if params.logprobs is not None and self.is_chat_model:
            fields |= {"logprobs": True, "top_logprobs": params.logprobs}
        elif params.logprobs is not None:
            fields["logprobs"] = params.logprobs
        return fields

    def _extended(self, params: SamplingParams) -> dict[str, Any]:
        plain = SamplingParams()
        given = {name: getattr(params, name) for name in _EXTENSIONS}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value != getattr(plain, name)
        }

    def _constrain(self, call: Call, fields: dict[str, Any], more: dict[str, Any]) -> bool:
        """Say the call's grammar; whether the value is wrapped in an object."""
        grammar = call.grammar
        assert grammar is not None
        if self.extensions and grammar.kind in _STRUCTURED and not grammar.registry:
            source: Any = grammar.source
            if grammar.kind in ("json_schema", "choices"):
                source = json.loads(source)
            more["structured_outputs"] = {_STRUCTURED[grammar.kind]: source}
            return False
        if not self.is_chat_model:
            raise NotSupportedError(
                f"{self.api} holds a completion to no grammar (a {grammar.kind} is asked for)",
                where=call.where,
                hint="Use a chat model for JSON, a server with extensions='vllm', or an engine.",
            )
        found = format_of(grammar, self.api, call.where)
        fields["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": found.schema, "strict": found.strict},
        }
        return found.wrapped

    # -- answers -----------------------------------------------------------------------------------

    async def send(self, ask: Ask) -> Reply:
        """The whole answer."""
        told = await self._resource().create(**ask.fields)
        answers = [self._answer(choice) for choice in told.choices]
        if len(answers) != ask.fields.get("n", 1):
            raise ServerError(
                f"{self.api} answered with {len(answers)} choices", where=ask.call.where
            )
        return Reply(answers, _usage(told.usage))

    async def open(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer as a stream."""
        stream = await self._resource().create(
            stream=True, stream_options={"include_usage": True}, **ask.fields
        )
        ended = False
        try:
            async for chunk in stream:
                usage = _usage(chunk.usage) if getattr(chunk, "usage", None) is not None else None
                delta = Delta(usage=usage)
                for choice in chunk.choices:
                    if self.is_chat_model:
                        delta.text = choice.delta.content or ""
                    else:
                        delta.text = choice.text or ""
                    delta.logprobs = self._logprobs(choice.logprobs)
                    if choice.finish_reason is not None:
                        ended = True
                        delta.finish_reason = self._finished(choice.finish_reason)
                        delta.matched_stop = _stop_of(choice)
                yield delta
        finally:
            await stream.close()
        if not ended:
            raise ServerError(f"{self.api} broke its stream off", where=ask.call.where)

    def _resource(self) -> Any:
        client = self.line.here()
        return client.chat.completions if self.is_chat_model else client.completions

    def _answer(self, choice: Any) -> Answer:
        if self.is_chat_model:
            refusal = getattr(choice.message, "refusal", None)
            if refusal:
                raise APIError("the model refused to answer", got=repr(refusal)[:200])
            text = choice.message.content or ""
        else:
            text = choice.text
        return Answer(
            text,
            self._finished(choice.finish_reason),
            _stop_of(choice),
            self._logprobs(choice.logprobs),
        )

    def _finished(self, reason: str | None) -> FinishReason:
        if reason not in _FINISHED:
            raise APIError(f"{self.api} ended the answer early", got=f"finish_reason {reason!r}")
        return _FINISHED[reason]

    def _logprobs(self, told: Any) -> list[TokenLogprob] | None:
        if told is None:
            return None
        if self.is_chat_model:
            return [
                self._entry(
                    _spelled(e), e.logprob, [(_spelled(t), t.logprob) for t in e.top_logprobs]
                )
                for e in told.content or ()
            ]
        tops = told.top_logprobs or [{}] * len(told.tokens)
        return [
            self._entry(_bytes(token), logprob, [(_bytes(t), p) for t, p in (top or {}).items()])
            for token, logprob, top in zip(told.tokens, told.token_logprobs, tops, strict=True)
        ]

    def _entry(
        self, token: bytes, logprob: float, top: Sequence[tuple[bytes, float]]
    ) -> TokenLogprob:
        piece = self.tokenizer.piece
        return TokenLogprob(
            token_id=piece(token), logprob=logprob, top=[(piece(t), p) for t, p in top]
        )

    # -- select ------------------------------------------------------------------------------------

    async def score(self, scoring: Scoring) -> list[Result]:
        """By the log probabilities that a completion model echoes, in one request. Refused by name
        for models that speak in messages."""
        if self.is_chat_model:
            return await super().score(scoring)
        if scoring.unconditional or scoring.deterministic or scoring.namespace or scoring.priority:
            raise NotSupportedError(
                f"{self.api} scores no choices without their prompt, with a namespace, a priority "
                "or deterministic=True",
                where=scoring.where,
            )
        call = Call(
            input_ids=[], params=SamplingParams(), deadline=scoring.deadline, where=scoring.where
        )
        texts = [self.tokenizer.decode(ids) for ids in scoring.input_ids]
        fields = {"model": self.model, "prompt": texts, "echo": True, "logprobs": 0}
        fields |= {"max_tokens": 0, "temperature": 0.0}
        if self.extra_body:
            fields["extra_body"] = self.extra_body
        ends = None if scoring.deadline is None else self.clock.now() + scoring.deadline
        told, requests = await self.line.attempts(
            lambda: self._resource().create(**fields), call, ends
        )
        usage = _usage(told.usage)
        usage.requests = requests
        self.line.count(usage)
        rows = {choice.index: choice.logprobs for choice in told.choices}
        results = []
        for number, (ids, start) in enumerate(zip(scoring.input_ids, scoring.start, strict=True)):
            begin = len(self.tokenizer.decode(ids[:start]))
            entries = self._scored(rows.get(number), texts[number], begin, scoring.where)
            own = Usage() if number else usage
            results.append(
                Result(
                    request_id=number,
                    prompt_tokens=own.prompt,
                    cached_tokens=own.cached,
                    computed_tokens=own.prompt - own.cached,
                    generated_tokens=own.generated,
                    requests=own.requests,
                    prompt_logprobs=entries,
                )
            )
        return results

    def _scored(self, told: Any, text: str, begin: int, where: str) -> list[TokenLogprob | None]:
        """The tokens that reach behind character `begin` of the text."""
        if told is None or told.text_offset is None:
            raise NotSupportedError(
                f"{self.api} echoes no log probabilities for {self.model}",
                where=where,
                hint="Use a model that does, or an engine.",
            )
        starts = [*told.text_offset, len(text)]
        found: list[TokenLogprob | None] = []
        for at, (token, logprob) in enumerate(zip(told.tokens, told.token_logprobs, strict=True)):
            if starts[at] >= len(text) or starts[at + 1] <= begin:
                continue
            if logprob is None:
                raise InvalidRequestError(
                    expected="text before the choices",
                    got="a prompt that begins with them",
                    where=where,
                    hint="Nothing predicts the first token.",
                )
            found.append(self._entry(_bytes(token), logprob, ()))
        return found


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _stop_of(choice: Any) -> str | None:
    """The stop string, from servers that tell."""
    for name in ("stop_reason", "matched_stop"):
        if isinstance(told := getattr(choice, name, None), str) and told:
            return told
    return None


def _usage(told: Any) -> Usage:
    if told is None:
        return Usage()
    details = getattr(told, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None) or 0
    return Usage(told.prompt_tokens or 0, cached, told.completion_tokens or 0)


def _spelled(entry: Any) -> bytes:
    data = getattr(entry, "bytes", None)
    return bytes(data) if data is not None else _bytes(entry.token)


def _bytes(token: str) -> bytes:
    """A token as completions spell it; half a character is written in hexadecimal."""
    if (found := _BYTES.fullmatch(token)) is not None:
        return bytes.fromhex(found[1].replace("\\x", ""))
    return token.encode()

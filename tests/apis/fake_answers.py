"""What the fake API answers: bodies in OpenAI's and Anthropic's forms, of what its model says."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_PIECES = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
_EXTENSIONS = {
    "continue_final_message", "add_generation_prompt", "structured_outputs", "top_k", "min_p",
    "min_tokens", "repetition_penalty", "ignore_eos", "stop_token_ids",
}  # fmt: skip
# What Anthropic's API takes and the package's newer versions do not name.
_ANTHROPIC = {"temperature", "top_p", "top_k"}
_CONTEXT = 2000


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code

    def body(self, anthropic: bool) -> dict[str, Any]:
        """As the API writes it."""
        if anthropic:
            kinds = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
            kind = kinds.get(
                self.status, "invalid_request_error" if self.status < 500 else "api_error"
            )
            return {"type": "error", "error": {"type": kind, "message": self.message}}
        return {
            "error": {"message": self.message, "type": "error", "param": None, "code": self.code}
        }


@dataclass
class Said:
    """One sample."""

    tokens: list[str]
    finish: str
    stop: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass
class World:
    """The model and what it has seen. logprob: of a token, given the text before it."""

    model: Callable[[str], str]
    logprob: Callable[[str, str], float]
    extensions: bool
    prompts: list[list[str]] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        """A body, or the events of a stream."""
        if path.endswith("/chat/completions"):
            return self._chat(body)
        if path.endswith("/completions"):
            return self._completion(body)
        if path.endswith("/messages"):
            return self._messages(body)
        raise Refused(404, f"no route {path}")

    # -- what is said ------------------------------------------------------------------------------

    def _say(self, prompt: str, most: int | None, stops: list[str]) -> Said:
        tokens = pieces(self.model(prompt))
        finish = "stop" if most is None or len(tokens) <= most else "length"
        text = "".join(tokens[:most])
        found = [
            (text.index(stop) + len(stop), text.index(stop), stop) for stop in stops if stop in text
        ]
        if found:
            _, at, stop = min(found)
            return Said(pieces(text[:at]), "stop", stop)
        return Said(tokens[:most], finish)

    def _usage(self, prompt: str) -> tuple[int, int]:
        """The prompt's tokens, and how many of them an earlier one began with."""
        tokens = pieces(prompt)
        if len(tokens) > _CONTEXT:
            raise Refused(
                400,
                f"This model's maximum context length is {_CONTEXT} tokens.",
                "context_length_exceeded",
            )
        shared = (
            sum(
                1
                for _ in itertools.takewhile(lambda p: p[0] == p[1], zip(tokens, old, strict=False))
            )
            for old in self.prompts
        )
        cached = max(shared, default=0)
        self.prompts.append(tokens)
        return len(tokens), cached

    def _stops(self, body: dict[str, Any]) -> list[str]:
        """`stop`, of which OpenAI takes four."""
        stops = body.get("stop") or []
        stops = [stops] if isinstance(stops, str) else stops
        if len(stops) > 4 and not self.extensions:
            raise Refused(400, "Invalid 'stop': array too long. Expected at most 4.")
        return stops

    # -- OpenAI ------------------------------------------------------------------------------------

    def _chat(self, body: dict[str, Any]) -> Any:
        from openai.resources.chat.completions import Completions

        check_fields(body, Completions.create, _EXTENSIONS if self.extensions else set())
        messages = body["messages"]
        goes_on = body.get("continue_final_message", False)
        if messages[-1]["role"] == "assistant" and not goes_on:
            messages = [*messages, {"role": "assistant", "content": ""}]
        prompt = rendered(messages if messages[-1]["role"] == "assistant" else [*messages, _OPEN])
        prompt_tokens, cached = self._usage(prompt)
        most = body.get("max_tokens", body.get("max_completion_tokens"))
        said = [self._say(prompt, most, self._stops(body)) for _ in range(body.get("n", 1))]
        usage = openai_usage(prompt_tokens, cached, said)
        head = {"id": f"c{next(self.numbers)}", "created": 0, "model": body["model"]}

        def logprobs(tokens: list[str]) -> Any:
            if not body.get("logprobs"):
                return None
            return {
                "content": [self._token(prompt, t, body.get("top_logprobs", 0)) for t in tokens]
            }

        if body.get("stream"):
            events = []
            for token in said[0].tokens:
                delta = {"role": "assistant", "content": token}
                events.append(chunk(head, {"delta": delta, "logprobs": logprobs([token])}))
            events.append(chunk(head, {"delta": {}, "finish_reason": said[0].finish}))
            return [*events, {**chunk(head, None), "usage": usage}]
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", "content": one.text},
                "finish_reason": one.finish,
                "logprobs": logprobs(one.tokens),
            }
            for number, one in enumerate(said)
        ]
        return {**head, "object": "chat.completion", "choices": choices, "usage": usage}

    def _token(self, before: str, token: str, top: int) -> dict[str, Any]:
        entry = {"token": token, "bytes": [*token.encode()], "logprob": self.logprob(before, token)}
        others = [{"token": f"other{n}", "bytes": None, "logprob": -9.0 - n} for n in range(top)]
        return {**entry, "top_logprobs": others}

    def _completion(self, body: dict[str, Any]) -> Any:
        from openai.resources.completions import Completions

        check_fields(body, Completions.create, _EXTENSIONS if self.extensions else set())
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        head = {"id": f"c{next(self.numbers)}", "created": 0, "model": body["model"]}
        head["object"] = "text_completion"
        choices, total, cached, all_said = [], 0, 0, []
        for prompt in prompts:
            tokens, known = self._usage(prompt)
            total, cached = total + tokens, cached + known
            for _ in range(body.get("n", 1)):
                said = self._say(prompt, body.get("max_tokens", 16), self._stops(body))
                all_said.append(said)
                shown = [*(pieces(prompt) if body.get("echo") else []), *said.tokens]
                choices.append(
                    {
                        "index": len(choices),
                        "text": "".join(shown),
                        "finish_reason": said.finish,
                        "logprobs": self._old_logprobs(prompt, shown, body),
                    }
                )
        usage = openai_usage(total, cached, all_said)
        if not body.get("stream"):
            return {**head, "choices": choices, "usage": usage}
        events = [
            {**head, "choices": [{"index": 0, "text": token, "finish_reason": None,
                                  "logprobs": self._old_logprobs(prompts[0], [token], body)}]}
            for token in all_said[0].tokens
        ]  # fmt: skip
        last = {"index": 0, "text": "", "finish_reason": all_said[0].finish, "logprobs": None}
        return [*events, {**head, "choices": [last]}, {**head, "choices": [], "usage": usage}]

    def _old_logprobs(self, prompt: str, tokens: list[str], body: dict[str, Any]) -> Any:
        if body.get("logprobs") is None:
            return None
        starts = [0, *itertools.accumulate(map(len, tokens))]
        base = 0 if body.get("echo") else len(prompt)
        text = "".join(tokens)
        logprobs = [
            None if base + start == 0 else self.logprob(text[:start], token)
            for token, start in zip(tokens, starts, strict=False)
        ]
        top = [{f"other{n}": -9.0 - n for n in range(body["logprobs"])} for _ in tokens]
        return {
            "tokens": tokens,
            "token_logprobs": logprobs,
            "top_logprobs": top or None,
            "text_offset": [base + start for start in starts[: len(tokens)]],
        }

    # -- Anthropic ---------------------------------------------------------------------------------

    def _messages(self, body: dict[str, Any]) -> Any:
        from anthropic.resources.messages import Messages

        check_fields(body, Messages.create, _ANTHROPIC)
        stops = body.get("stop_sequences", [])
        if any(not stop.strip() for stop in stops):
            raise Refused(400, "stop_sequences: each stop sequence must contain non-whitespace")
        messages = body["messages"]
        if any(m["role"] == "system" for m in messages):
            raise Refused(400, "messages: Unexpected role system")
        if "system" in body:
            messages = [{"role": "system", "content": body["system"]}, *messages]
        prompt = rendered(messages if messages[-1]["role"] == "assistant" else [*messages, _OPEN])
        tokens, cached = self._usage(prompt)
        said = self._say(prompt, body["max_tokens"], stops)
        reason = (
            "stop_sequence" if said.stop else {"stop": "end_turn"}.get(said.finish, "max_tokens")
        )
        usage = {"input_tokens": tokens - cached, "cache_read_input_tokens": cached}
        head = {"id": f"m{next(self.numbers)}", "type": "message", "role": "assistant"}
        head |= {"model": body["model"], "stop_sequence": None, "stop_reason": None}
        end = {"stop_reason": reason, "stop_sequence": said.stop}
        if not body.get("stream"):
            content = [{"type": "text", "text": said.text}] if said.text else []
            usage["output_tokens"] = len(said.tokens)
            return {**head, **end, "content": content, "usage": usage}
        begin = {**head, "content": [], "usage": {**usage, "output_tokens": 1}}
        block: dict[str, Any] = {"type": "content_block_start", "index": 0}
        return [
            {"type": "message_start", "message": begin},
            {**block, "content_block": {"type": "text", "text": ""}},
            *(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": t},
                }
                for t in said.tokens
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": len(said.tokens)}},
            {"type": "message_stop"},
        ]


_OPEN = {"role": "assistant", "content": ""}


def pieces(text: str) -> list[str]:
    """The fake model's tokens."""
    return _PIECES.findall(text)


def rendered(messages: list[dict[str, str]]) -> str:
    """A chat as its model reads it; the last message is the one to go on with."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def check_fields(body: dict[str, Any], create: Callable[..., Any], further: set[str]) -> None:
    """A field that the package's method does not have is refused, as the APIs do it."""
    known = {*inspect.signature(create).parameters} | further
    for name in body:
        if name not in known:
            raise Refused(400, f"Unrecognized request argument supplied: {name}")


def openai_usage(prompt: int, cached: int, said: list[Said]) -> dict[str, Any]:
    generated = sum(len(one.tokens) for one in said)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def chunk(head: dict[str, Any], choice: dict[str, Any] | None) -> dict[str, Any]:
    """One event of a chat's stream."""
    choices = [] if choice is None else [{"index": 0, "finish_reason": None, **choice}]
    return {**head, "object": "chat.completion.chunk", "choices": choices}

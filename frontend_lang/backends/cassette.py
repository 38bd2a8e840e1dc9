"""A cassette: what a program asked and what it got, as a file of JSON lines.

    {"cassette": 1, "model": "sprig", "bos": "<s>", "adds_bos": true, "ends": ["</s>"], ...}
    {"chat": [["user", "Hi"]], "generate": true, "renders": "<s><|user|>Hi</s><|assistant|>"}
    {"asks": {"gen": "Name:", "params": {"max_tokens": 8}}, "by": {"name": "x", ...}, "gives": ...}

A call is known by what it asks: prompt, parameters and grammar, or choices. Who asked (`by`: name,
path, number, seed) only tells calls apart that ask the same. Tokens are written as their text (left
out where they are bytes, or not known), or,
where that is half a character, as a list of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...errors import InvalidRequestError
from ...types import Result, SamplingParams, Times, TokenLogprob
from .asked import Asked, spelled
from .base import Scoring, Tokenizer

VERSION = 1
_PLAIN = SamplingParams()
_COUNTS = (
    "prompt_tokens", "cached_tokens", "computed_tokens", "shared_tokens", "generated_tokens",
    "requests",
)  # fmt: skip
_AS_THEY_ARE = (*_COUNTS, "text", "finish_reason", "matched_stop", "incomplete", "seed")
_USUAL = Result(request_id=0)

Line = dict[str, Any]


class TapeTokenizer:
    """The tokenizer of a replay: bytes, the recorded model's BOS and ends, and the tokens that it
    said. Its own tokens are not known, so they cannot be counted; its chat template is what was
    recorded of it."""

    counts_tokens = False

    def __init__(self, head: Mapping[str, Any], chats: Mapping[str, str], path: str) -> None:
        self._specials = [text for text in (head["bos"], *head["ends"]) if text is not None]
        self.bos_id = None if head["bos"] is None else 256
        self.adds_bos = bool(head["adds_bos"])
        self.special_ids = frozenset(range(256, 256 + len(self._specials)))
        self.eos_ids = frozenset(range(256 + (head["bos"] is not None), 256 + len(self._specials)))
        self.chat_template: object | None = "recorded" if head["chat"] else None
        self._leads = str(head.get("leads", ""))
        self._chats, self._path = chats, path
        self._pieces: list[bytes] = [bytes([n]) for n in range(256)]
        self._pieces += [text.encode() for text in self._specials]
        self._ids = {piece: n for n, piece in enumerate(self._pieces) if n < 256}

    def encode(
        self,
        text: str,
        *,
        add_bos: bool = False,
        allow_special: bool = False,
        continues: bool = False,
    ) -> list[int]:
        """Bytes; special tokens' strings are special only with allow_special."""
        ids = [256] if add_bos and self.bos_id is not None else []
        text = text if continues else self._leads + text
        while text:
            at, special = len(text), None
            for number, name in enumerate(self._specials):
                if allow_special and name and 0 <= (found := text.find(name)) < at:
                    at, special = found, number
            ids.extend(text[:at].encode("utf-8", errors="surrogatepass"))
            if special is None:
                break
            ids.append(256 + special)
            text = text[at + len(self._specials[special]) :]
        return ids

    def token_bytes(self, id: int, /) -> bytes:
        return self._pieces[id]

    def piece(self, told: str | list[int]) -> int:
        """The id of a token that a cassette tells."""
        data = told.encode() if isinstance(told, str) else bytes(told)
        known = self._ids.get(data)
        if known is None:
            known = self._ids[data] = len(self._pieces)
            self._pieces.append(data)
        return known

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
    ) -> str:
        found = self._chats.get(chat_key(messages, add_generation_prompt))
        if found is None:
            raise InvalidRequestError(
                f"the cassette {self._path} has no chat of these roles",
                got=", ".join(str(message["role"]) for message in messages),
                hint="Record it again.",
            )
        return found


def head_of(model: str, tokenizer: Tokenizer) -> Line:
    """A cassette's first line."""

    def text(token: int) -> str:
        return tokenizer.token_bytes(token).decode("utf-8", errors="replace")

    leads = spelled(tokenizer, tokenizer.encode("a")).removesuffix("a")
    return {
        **({"leads": leads} if leads else {}),
        "cassette": VERSION,
        "model": model,
        "bos": None if tokenizer.bos_id is None else text(tokenizer.bos_id),
        "adds_bos": tokenizer.adds_bos,
        "ends": [text(token) for token in sorted(tokenizer.eos_ids)],
        "chat": tokenizer.chat_template is not None,
    }


def chat_key(messages: Sequence[Mapping[str, Any]], generate: bool) -> str:
    """What a rendering of a chat is known by."""
    return json.dumps([[[m["role"], m["content"]] for m in messages], generate])


def asks_of(asked: Asked, unconditional: bool = False) -> Line:
    """What a call is known by. Choices that are scored without their prompt are known alone."""
    if asked.choices is not None:
        prompt = {"alone": True} if unconditional else {"select": asked.prompt}
        return {**prompt, "choices": list(asked.choices)}
    asks: Line = {"gen": asked.prompt}
    if asked.params is not None and (params := _params(asked.params)):
        asks["params"] = params
    if asked.grammar is not None:
        plain = msgspec.to_builtins(asked.grammar)
        usual = {field.name: field.default for field in msgspec.structs.fields(asked.grammar)}
        asks["grammar"] = {k: v for k, v in plain.items() if v != usual[k] and v != []}
    return asks


def _params(params: SamplingParams) -> Line:
    """All but the seed that is not as usual."""
    given = {name: getattr(params, name) for name in params.__struct_fields__ if name != "seed"}
    changed = {name: value for name, value in given.items() if value != getattr(_PLAIN, name)}
    if "logit_bias" in changed:
        changed["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}


def by_of(asked: Asked) -> Line:
    """Who asked."""
    by: Line = {"name": asked.name, "path": list(asked.path), "index": asked.index}
    if asked.params is not None:
        by["seed"] = asked.params.seed
    return by


def plain_result(result: Result, tokenizer: Tokenizer) -> Line:
    """A result as plain data."""
    gives = {
        name: getattr(result, name)
        for name in _AS_THEY_ARE
        if getattr(result, name) != getattr(_USUAL, name)
    }
    if any(len(tokenizer.token_bytes(token)) > 1 for token in result.token_ids):
        gives["tokens"] = [_told(tokenizer, token) for token in result.token_ids]
    if result.logprobs is not None:
        gives["logprobs"] = [_plain_entry(tokenizer, entry) for entry in result.logprobs]
    if result.prompt_logprobs is not None:
        gives["prompt_logprobs"] = [
            None if entry is None else _plain_entry(tokenizer, entry)
            for entry in result.prompt_logprobs
        ]
    gives["seconds"] = round(result.times.total, 6)
    if result.samples:
        alone = [msgspec.structs.replace(sample, samples=[]) for sample in result.samples]
        gives["samples"] = [plain_result(sample, tokenizer) for sample in alone]
    return gives


def result_of(gives: Line, tokenizer: TapeTokenizer) -> Result:
    """`plain_result`'s inverse, in the replay's tokens."""

    def entries(told: Any) -> Any:
        if told is None:
            return None
        return [None if entry is None else _entry(tokenizer, entry) for entry in told]

    ids = tokenizer.encode(gives.get("text", ""), continues=True)
    if "tokens" in gives:
        ids = [tokenizer.piece(token) for token in gives["tokens"]]
    return Result(
        request_id=0,
        **{name: gives[name] for name in _AS_THEY_ARE if name in gives},
        token_ids=ids,
        logprobs=entries(gives.get("logprobs")),
        prompt_logprobs=entries(gives.get("prompt_logprobs")),
        times=Times(total=gives["seconds"]),
        samples=[result_of(sample, tokenizer) for sample in gives.get("samples", ())],
    )


def plain_rows(scoring: Scoring, results: Sequence[Result], tokenizer: Tokenizer) -> list[Line]:
    """A select's rows: of each the choice that it scores, and its tokens."""
    return [
        {"choice": scoring.choice_of[row], **plain_result(result, tokenizer)}
        for row, result in enumerate(results)
    ]


def _plain_entry(tokenizer: Tokenizer, entry: TokenLogprob) -> list[Any]:
    top = [[_told(tokenizer, token), logprob] for token, logprob in entry.top]
    return [_told(tokenizer, entry.token_id), entry.logprob, *([top] if top else [])]


def _entry(tokenizer: TapeTokenizer, told: list[Any]) -> TokenLogprob:
    token, logprob, *top = told
    return TokenLogprob(
        token_id=tokenizer.piece(token),
        logprob=logprob,
        top=[(tokenizer.piece(other), lp) for other, lp in (top[0] if top else ())],
    )


def _told(tokenizer: Tokenizer, token: int) -> str | list[int]:
    data = tokenizer.token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)

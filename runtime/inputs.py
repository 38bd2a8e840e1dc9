"""What callers write, made uniform: prompts as token ids, one parameter set per prompt."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..errors import InvalidRequestError, NotSupportedError
from ..types import SamplingParams
from .request import DETERMINISTIC, POOLINGS, Pooling
from .tokenizer import Tokenizer

Prompts = list[list[int]]
_T = TypeVar("_T")
_MEDIA = {
    f"{before}{kind}{after}"
    for kind in ("audio", "image", "video")
    for before, after in (("", ""), ("", "_url"), ("input_", ""))
}
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def as_prompts(
    tokenizer: Callable[[], Tokenizer],
    prompts: str | Sequence[str] | None,
    messages: Sequence[Any] | None,
    input_ids: Sequence[Any] | None,
) -> Prompts:
    """Token ids of whichever one of the three is given."""
    given = {"prompts": prompts, "messages": messages, "input_ids": input_ids}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise InvalidRequestError(
            expected="one of prompts, messages and input_ids",
            got=" and ".join(names) if names else "none of them",
            where="prompts",
        )
    if prompts is not None:
        texts = [prompts] if isinstance(prompts, str) else _listed(prompts, "prompts")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidRequestError(
                    expected="a string",
                    got=repr(text),
                    where=f"prompts[{i}]",
                    hint="Give chats as messages=, token ids as input_ids=.",
                )
            _check_text(text, f"prompts[{i}]")
        return [tokenizer().encode(text, add_bos=tokenizer().adds_bos) for text in texts]
    if messages is not None:
        chats = _listed(messages, "messages")
        if chats and isinstance(chats[0], dict):
            chats = [chats]
        return [_chat(tokenizer(), chat, i) for i, chat in enumerate(chats)]
    rows = _listed(input_ids, "input_ids")
    if rows and not hasattr(rows[0], "__iter__"):
        return [token_ids(rows, "input_ids")]
    return [token_ids(row, f"input_ids[{i}]") for i, row in enumerate(rows)]


def _listed(value: Any, where: str) -> list[Any]:
    if isinstance(value, str | bytes | dict) or not hasattr(value, "__iter__"):
        raise InvalidRequestError(expected="a list", got=repr(value), where=where)
    values: list[Any] = value.tolist() if hasattr(value, "tolist") else list(value)
    return values


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            expected="text that UTF-8 can write",
            got=repr(text[error.start : error.end]),
            where=f"{where}, character {error.start}",
        ) from None


def _chat(tokenizer: Tokenizer, chat: Any, number: int) -> list[int]:
    messages = _listed(chat, f"messages[{number}]")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise InvalidRequestError(
                expected="a dict with role and content",
                got=repr(message),
                where=f"messages[{number}][{i}]",
            )
        where = f"messages[{number}][{i}].content"
        if isinstance(message["content"], str):
            _check_text(message["content"], where)
        elif isinstance(message["content"], list):
            _check_parts(message["content"], where)
    return tokenizer.encode_chat(messages, add_generation_prompt=True)


def _check_parts(parts: list[Any], where: str) -> None:
    """A template would write a placeholder for what no model here sees or hears."""
    for i, part in enumerate(parts):
        named = {str(part.get("type")), *part} & _MEDIA if isinstance(part, dict) else set()
        if named:
            raise NotSupportedError(
                f"content of type {min(named)!r}: models run on text alone here",
                where=f"{where}[{i}]",
                hint="Leave it out, or say in text what it shows.",
            )


def token_ids(row: Any, where: str) -> list[int]:
    """Plain ints of a list or array of token ids; whether they fit the vocabulary, the engine says.

    Raises InvalidRequestError for anything that is no integer of 64 bits.
    """
    ids = _listed(row, where)
    if set(map(type, ids)) == {int} and min(ids) >= _LOWEST and max(ids) <= _HIGHEST:
        return ids
    for i, token in enumerate(ids):
        try:
            ids[i] = operator.index(token)
        except TypeError:
            ids[i] = None
        if ids[i] is None or isinstance(token, bool) or not _LOWEST <= ids[i] <= _HIGHEST:
            raise InvalidRequestError(expected="a token id", got=repr(token), where=f"{where}[{i}]")
    return ids


def request_number(request_id: Any) -> list[int]:
    """A request's number, as `cancel` takes it. Raises InvalidRequestError for what is none."""
    try:
        return token_ids([request_id], "request_id")
    except InvalidRequestError:
        raise InvalidRequestError(
            expected="a request's number", got=repr(request_id)[:80], where="request_id",
            hint="Of a Result, or of a Chunk that is streamed.",
        ) from None  # fmt: skip


def checked_namespace(namespace: Any) -> str:
    """Raises InvalidRequestError unless it is a string without NUL, which the engine uses."""
    if not isinstance(namespace, str) or "\0" in namespace:
        raise InvalidRequestError(
            expected="a string without NUL", got=repr(namespace), where="namespace"
        )
    _check_text(namespace, "namespace")
    return namespace


def cache_namespace(namespace: Any, deterministic: Any) -> str:
    """Where the KV of a namespace's requests lies; those that ask to be deterministic share theirs
    among themselves alone."""
    name = checked_namespace(namespace)
    return name + DETERMINISTIC if checked_flag("deterministic", deterministic) else name


def checked_ttl(ttl: Any) -> float | None:
    """A pin's seconds to live as a plain float, or None for ever."""
    number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    if ttl is not None and not (number and 0 < ttl <= sys.float_info.max):
        raise InvalidRequestError(
            expected="a finite number of seconds above 0, or None", got=repr(ttl), where="ttl"
        )
    return None if ttl is None else float(ttl)


def checked_pin(pin: Any) -> int:
    """A pin's number as a plain int."""
    if isinstance(pin, bool) or not isinstance(pin, int) or not 0 <= pin <= _HIGHEST:
        raise InvalidRequestError(expected="a pin this engine gave", got=repr(pin), where="pin")
    return pin


def checked_count(name: str, value: Any, low: int, high: int) -> int:
    """A plain int in low..high."""
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise InvalidRequestError(
            expected=f"an integer in {low}..{high}", got=repr(value), where=name
        )
    return number


def checked_pooling(pooling: Any) -> Pooling:
    """Raises InvalidRequestError unless it is a known one."""
    for known in POOLINGS:
        if pooling == known:
            return known
    raise InvalidRequestError(
        expected=" or ".join(map(repr, POOLINGS)), got=repr(pooling), where="pooling"
    )


def checked_flag(name: str, value: Any) -> bool:
    """Raises InvalidRequestError unless it is a bool."""
    if not isinstance(value, bool):
        raise InvalidRequestError(expected="True or False", got=repr(value), where=name)
    return value


def per_prompt(name: str, value: _T | Sequence[_T], count: int) -> list[_T]:
    """One value for each prompt: the same for all, or the given list's."""
    if not isinstance(value, list | tuple):
        return [value] * count  # type: ignore[list-item]
    if len(value) != count:
        raise InvalidRequestError(
            expected=f"one per prompt ({count})", got=str(len(value)), where=name
        )
    return list(value)


def sampling(params: SamplingParams | dict[str, Any] | None) -> SamplingParams:
    """Sampling parameters from what the caller gave."""
    if params is None:
        return SamplingParams()
    if isinstance(params, dict):
        return SamplingParams(**params)
    if not isinstance(params, SamplingParams):
        raise InvalidRequestError(
            expected="SamplingParams or a dict", got=repr(params), where="sampling_params"
        )
    return params

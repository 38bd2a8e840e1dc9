"""What callers write, made uniform: prompts as token ids, one parameter set per prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..errors import InvalidRequestError
from ..types import SamplingParams
from .tokenizer import Tokenizer

Prompts = list[list[int]]
_T = TypeVar("_T")


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
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidRequestError(
                    expected="a string", got=repr(text), where=f"prompts[{i}]"
                )
        return [tokenizer().encode(text, add_bos=tokenizer().adds_bos) for text in texts]
    if messages is not None:
        chats = [messages] if messages and isinstance(messages[0], dict) else messages
        return [_chat(tokenizer(), chat, i) for i, chat in enumerate(chats)]
    assert input_ids is not None
    rows = [input_ids] if len(input_ids) and isinstance(input_ids[0], int) else input_ids
    return [_ids(row, i) for i, row in enumerate(rows)]


def _chat(tokenizer: Tokenizer, chat: Any, number: int) -> list[int]:
    for i, message in enumerate(chat):
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise InvalidRequestError(
                expected="a dict with role and content",
                got=repr(message),
                where=f"messages[{number}][{i}]",
            )
    text = tokenizer.render_chat(list(chat), add_generation_prompt=True)
    return tokenizer.encode(text, allow_special=True)


def _ids(row: Any, number: int) -> list[int]:
    ids = [int(token) for token in row] if not isinstance(row, str) else None
    if ids is None:
        raise InvalidRequestError(
            expected="a list of token ids", got=repr(row), where=f"input_ids[{number}]"
        )
    return ids


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

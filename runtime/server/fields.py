"""What request bodies have in common: strict types, and no field that is dropped in silence.

A field is honoured, or refused by name. Those that others know and this server does not have are
listed in `REFUSED` with the values that ask for nothing; they are taken with these, and refused
with any other. All else is unknown.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ...errors import InvalidRequestError, NotSupportedError
from .failures import HTTPError

_T = TypeVar("_T")
Many = Annotated[list[_T], Field(fail_fast=True)]
"""A list, read up to its first wrong entry: telling of a million of them took a minute."""

Objects = Annotated[list[_T], Field(fail_fast=True, max_length=10_000)]
"""The same of objects, of which each takes some microseconds to check."""


def few(where: str, most: int = 10_000) -> BeforeValidator:
    """Refuses a list of more than so many texts, lists or objects before any of them is looked at.
    Of numbers it may have any number: one prompt's token ids."""

    def counted(value: Any) -> Any:
        if isinstance(value, list) and len(value) > most and type(value[0]) is not int:
            raise InvalidRequestError(
                expected=f"at most {most:,} entries", got=f"{len(value):,}", where=where
            )
        return value

    return BeforeValidator(counted)


_MOST_NAMES = 200
_LONGEST_NAME = 80  # characters of a field's name in an error
_NONE: tuple[Any, ...] = (None,)
_OFF: tuple[Any, ...] = (None, False)
_ON: tuple[Any, ...] = (None, True)

Refusals = Mapping[str, tuple[tuple[Any, ...], str]]
# name: (values that ask for nothing, what to do instead)
REFUSED: Refusals = {
    "audio": (_NONE, "models run on text alone here"),
    "modalities": ((None, ["text"]), "models run on text alone here"),
    "mm_processor_kwargs": (_NONE, "models run on text alone here"),
    "functions": (_NONE, "use tools"),
    "function_call": (_NONE, "use tool_choice"),
    "prediction": (_NONE, "leave it out"),
    "store": (_OFF, "nothing is stored"),
    "metadata": ((None, {}), "nothing is stored"),
    "service_tier": ((None, "auto", "default"), "use priority"),
    "prompt_cache_retention": ((None, "in_memory", "in-memory"), "leave it out"),
    "verbosity": ((None, "medium"), "say it in a message"),
    "web_search_options": (_NONE, "use tools"),
    "moderation": (_NONE, "leave it out"),
    "use_beam_search": (_OFF, "use n or best_of"),
    "length_penalty": ((None, 1, 1.0), "use n or best_of"),
    "early_stopping": (_OFF, "use n or best_of"),
    "include_stop_str_in_output": (_OFF, "stop_reason tells which stop string it was"),
    "no_stop_trim": (_OFF, "stop_reason tells which stop string it was"),
    "skip_special_tokens": (_ON, "text never has special tokens"),
    "spaces_between_special_tokens": (_ON, "text never has special tokens"),
    "truncate_prompt_tokens": (_NONE, "shorten the prompt"),
    "allowed_token_ids": (_NONE, "use logit_bias, or a grammar"),
    "bad_words": ((None, []), "use logit_bias"),
    "documents": (_NONE, "put them into a message"),
    "chat_template": (_NONE, "the model's own template is used"),
    "add_special_tokens": (_NONE, "the model's tokenizer says what a text begins with"),
    "guided_decoding_backend": (_NONE, "there is one"),
    "guided_whitespace_pattern": (_NONE, "leave it out"),
    "kv_transfer_params": (_NONE, "leave it out"),
    "vllm_xargs": (_NONE, "leave it out"),
    "logits_processors": (_NONE, "use logit_bias, or a grammar"),
    "custom_logit_processor": (_NONE, "use logit_bias, or a grammar"),
    "custom_params": (_NONE, "leave it out"),
    "return_tokens_as_token_ids": (_OFF, "use /generate"),
    "return_token_ids": (_OFF, "use /generate"),
    "return_hidden_states": (_OFF, "use /v1/embeddings"),
    "return_routed_experts": (_OFF, "leave it out"),
    "lora_path": (_NONE, "adapters are not built yet"),
    "session_params": (_NONE, "prefixes are shared by themselves"),
    "thinking_token_budget": (_NONE, "use max_tokens"),
    "suffix": (_NONE, "models here only continue a text"),
}


class Fields(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid", strict=True)
    refused: ClassVar[Refusals] = REFUSED

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if len(data) > _MOST_NAMES:  # each unknown one is an error to make and to tell
            raise InvalidRequestError(
                expected=f"at most {_MOST_NAMES} fields in an object", got=f"{len(data):,}"
            )
        kept = {}
        for name, value in data.items():
            if name in cls.model_fields or name not in cls.refused:
                kept[name] = value
                continue
            nothing, hint = cls.refused[name]
            if not any(type(value) is type(known) and value == known for known in nothing):
                raise NotSupportedError(
                    f"the parameter {name!r} is not supported", where=name, hint=f"Instead: {hint}."
                )
        return kept


def validation_failure(error: RequestValidationError, known: list[str]) -> HTTPError:
    """The first thing that is wrong with a body, in our words. known: the body's fields."""
    first = error.errors()[0]
    original = (first.get("ctx") or {}).get("error")
    if isinstance(original, InvalidRequestError):
        return _invalid(str(original), original.where, "invalid_value")
    place = [_cut(part) for part in first["loc"] if part not in ("body", "query", "path")]
    param = _path(place)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), known, n=1) if len(place) == 1 else []
        hint = f". Did you mean {near[0]!r}?" if near else ""
        return _invalid(f"unknown parameter {param!r}{hint}", param, "unknown_parameter")
    if first["type"] == "missing":
        what = f"the parameter {param!r} is needed" if place else "a JSON object is needed"
        return _invalid(what, param or None, "missing_parameter")
    return _invalid(f"{first['msg']} (at {param or 'the body'})", param or None, "invalid_type")


def _cut(part: Any) -> Any:
    if isinstance(part, str) and len(part) > _LONGEST_NAME:
        return part[:_LONGEST_NAME] + "..."
    return part


def _path(place: list[Any]) -> str:
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not text:
            text = str(part)
        elif str(part).isidentifier() and str(part) not in _TYPES:
            text += f".{part}"
    return text


# Names of a union's members in a place.
_TYPES = ("str", "int", "list", "dict", "bool", "float", "GenerateParams", "NamedTool")


def _invalid(message: str, param: str | None, code: str) -> HTTPError:
    return HTTPError(400, message, kind="invalid_request_error", code=code, param=param)

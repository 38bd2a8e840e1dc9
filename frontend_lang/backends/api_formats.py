"""A grammar as a remote API takes it, and whether what came back is one of its texts.

An API of chats takes JSON schemas, for an object at the root; another value is asked for as the
one property of an object, and taken out. What it answers is checked: an API may promise a schema
and not keep it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import APIError, NotSupportedError
from ...grammar.spec import GrammarSpec
from .conform import conforms

_VALUE = "value"
_HEAD = re.compile(r'\s*\{\s*"value"\s*:\s*')


@dataclass(frozen=True)
class Format:
    """A schema to send. wrapped: the value asked for is the property `value` of it. strict: every
    object in it says all of its properties, and requires them, as OpenAI's strict mode wants."""

    schema: dict[str, Any]
    wrapped: bool
    strict: bool


def format_of(grammar: GrammarSpec, api: str, where: str) -> Format:
    """Raises NotSupportedError for what is no JSON Schema."""
    schema = json.loads(grammar.source) if grammar.kind == "json_schema" else None
    if not isinstance(schema, dict) or grammar.registry:
        raise NotSupportedError(
            f"{api} takes no grammar of kind {grammar.kind!r}",
            where=where,
            hint="Use a JSON schema or a type: gen(name, Person), json_schema=...; or a backend "
            "that enforces grammars, such as esp.Engine(...).",
        )
    defs = schema.get("$defs", {})
    ref = schema.get("$ref")
    if isinstance(ref, str) and {*schema} <= {"$ref", "$defs"}:
        found = defs.get(ref.removeprefix("#/$defs/"))
        if isinstance(found, dict):
            schema = {**found, **({"$defs": defs} if _used(found, defs) else {})}
    wrapped = schema.get("type") != "object"
    if wrapped:
        inner = {key: part for key, part in schema.items() if key not in ("$defs", "$schema")}
        schema = {
            "type": "object",
            "properties": {_VALUE: inner},
            "required": [_VALUE],
            "additionalProperties": False,
            **({"$defs": defs} if defs else {}),
        }
    return Format(schema, wrapped, _strict(schema))


def _used(schema: object, defs: Mapping[str, Any]) -> bool:
    return any(f'"#/$defs/{name}"' in json.dumps(schema) for name in defs)


def _strict(schema: object) -> bool:
    if isinstance(schema, list):
        return all(map(_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties", {})
    whole = schema.get("additionalProperties") is False
    whole = whole and {*schema.get("required", ())} == {*properties}
    return (schema.get("type") != "object" or whole) and all(map(_strict, schema.values()))


def said(text: str, wrapped: bool) -> str:
    """The value's text in an answer; as far as it goes, where the answer was cut."""
    if not wrapped:
        return text
    try:
        return json.dumps(json.loads(text)[_VALUE], ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        return text[head.end() :] if (head := _HEAD.match(text)) else text


def judged(grammar: GrammarSpec, text: str, ended: str, api: str, where: str) -> str | None:
    """Why the text is incomplete; None where it is one of the grammar's, but for blanks in JSON.
    ended: "stop", or what cut it. Raises APIError for a text that cannot be the grammar's."""
    verdict = conforms(grammar, text)
    if verdict != "complete" and grammar.kind == "json_schema":
        try:
            rewritten = json.dumps(json.loads(text), ensure_ascii=False)
        except ValueError:
            verdict = "prefix" if ended != "stop" else verdict
        else:
            verdict = conforms(grammar, rewritten)
    if verdict == "complete":
        return None
    if verdict == "prefix" and ended != "stop":
        return ended
    raise APIError(
        f"{api} answered what the {grammar.kind} does not allow",
        expected=grammar.source[:200],
        got=repr(text)[:200],
        where=where,
        hint="It did not enforce what it was asked to; ask again, or simplify it.",
    )

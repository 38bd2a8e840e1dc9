"""An answer that may be calls or something else must not be both.

Calls are told by what they begin with. So another grammar beside them must not be able to begin so:
shown here from the grammar's own text, or refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...errors import NotSupportedError
from ...grammar.spec import GrammarSpec
from .structured import AskedGrammar
from .tool_formats import ToolFormat, ToolSpec

_MAY_REPLACE = ("$ref", "$dynamicRef", "$recursiveRef")  # beside which older drafts read no keyword


def check_unlike_calls(form: ToolFormat, tools: Sequence[ToolSpec], answer: AskedGrammar) -> None:
    """Raise NotSupportedError for a grammar of which it is not certain that none of its texts
    begins as a call does. Of a form whose trigger is text."""
    if _is_unlike(form, tools, answer.spec):
        return
    begin = (form.open + form.before).strip()
    closed = f'"additionalProperties": false and no property {_keys(form)[1]!r}'
    raise NotSupportedError(
        f"tools beside {answer.field}, whose texts may begin as a call does, with {begin!r},",
        where="tools",
        hint=f"Give a schema with {closed}, or tool_choice required or none."
        if form.is_json
        else "Give a JSON schema, or tool_choice required or none.",
    )


def _is_unlike(form: ToolFormat, tools: Sequence[ToolSpec], spec: GrammarSpec) -> bool:
    if spec.kind == "choices":
        heads = tuple(form.open + form.head(tool.name) for tool in tools)
        texts = json.loads(spec.source)
        return not any(text.startswith(heads) for text in texts)
    if spec.kind != "json_schema":
        return False
    if not form.is_json:
        return True  # no JSON text begins so
    try:
        return _has_no_call(json.loads(spec.source), _keys(form))
    except (ValueError, RecursionError):
        return True  # no schema at all, which is told where grammars are compiled


def _keys(form: ToolFormat) -> list[str]:
    """The keys of a call that is a JSON object."""
    return list(json.loads(form.head("x") + "0" + form.end)) if form.is_json else ["", ""]


def _has_no_call(schema: Any, keys: list[str]) -> bool:
    """Whether no instance is an object that has all of the keys. Sound, and no more: what a schema
    says beside these keywords only makes it narrower."""
    if schema is False:
        return True
    if not isinstance(schema, dict) or any(name in schema for name in _MAY_REPLACE):
        return False
    kinds = schema.get("type")
    if isinstance(kinds, str | list) and "object" not in kinds:
        return True
    if schema.get("additionalProperties") is not False or schema.get("patternProperties"):
        return False
    properties = schema.get("properties") or {}
    return isinstance(properties, dict) and any(key not in properties for key in keys)

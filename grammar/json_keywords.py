"""Reading keywords: their values checked, and what is not enforced refused by name.

Every keyword of the draft 2020-12 vocabularies (json_dialects), and of the older spellings, is
enforced (json_assertions, json_applicators) or an annotation. All other keywords are annotations,
as the specification has it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..errors import GrammarError
from .json_document import child
from .json_formats import REFUSED_FORMATS
from .json_numbers import Numbers
from .json_text import decimal_of

Schema = dict[str, Any]


_MOST = 1 << 53


class Refusal(GrammarError):
    """A keyword that cannot be enforced exactly; with `lenient` it is dropped instead."""


def refuse(keyword: str, location: str, why: str, hint: str | None = None) -> Refusal:
    """The error for a keyword that cannot be enforced exactly, at its own pointer."""
    return Refusal(f"`{keyword}` {why}", where=child(location, keyword), hint=hint)


def refusals(location: str, schema: Schema, *, assert_formats: bool) -> list[Refusal]:
    """The errors of the keywords in `schema` that are refused."""
    found: list[Refusal] = []
    format = schema.get("format")
    if assert_formats and isinstance(format, str) and format in REFUSED_FORMATS:
        why = f'"{format}" is not supported'
        found.append(refuse("format", location, why, REFUSED_FORMATS[format]))
    return found


# -- reading values --------------------------------------------------------------------------------


def wrong_value(expected: str, value: Any, location: str, keyword: str) -> GrammarError:
    text = repr(value)
    return GrammarError(
        f"`{keyword}` has a wrong value",
        expected=expected,
        got=text if len(text) <= 60 else text[:57] + "...",
        where=child(location, keyword),
    )


def read_count(location: str, schema: Schema, keyword: str) -> int | None:
    value = schema.get(keyword)
    if value is None and keyword not in schema:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise wrong_value("a whole number, 0 or more", value, location, keyword)
    if value > _MOST:  # no text is that long: no upper bound, or one that nothing reaches
        if keyword.startswith("max"):
            return None
        raise wrong_value(f"at most {_MOST:,}", value, location, keyword)
    return value


def read_number(location: str, schema: Schema, keyword: str) -> Decimal | None:
    if keyword not in schema:
        return None
    value = schema[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_value("a number", value, location, keyword)
    return decimal_of(value, child(location, keyword))


def read_bounds(location: str, schema: Schema) -> list[Numbers]:
    """An interval for each of `minimum`, `exclusiveMinimum`, `maximum` and `exclusiveMaximum`."""
    found: list[Numbers] = []
    for side, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        bound = read_number(location, schema, side)
        open_ = schema.get(exclusive) is True  # draft 4 has a flag beside the bound
        if bound is not None:
            found.append(_interval(side, bound, open_))
        if not isinstance(schema.get(exclusive), bool):
            bound = read_number(location, schema, exclusive)
            if bound is not None:
                found.append(_interval(side, bound, True))
    return found


def _interval(side: str, bound: Decimal, open_: bool) -> Numbers:
    if side == "minimum":
        return Numbers(low=bound, low_open=open_)
    return Numbers(high=bound, high_open=open_)


def read_step(location: str, schema: Schema) -> Decimal | None:
    step = read_number(location, schema, "multipleOf")
    if step is not None and step <= 0:
        raise wrong_value("a number above 0", schema["multipleOf"], location, "multipleOf")
    return step


def read_flag(location: str, schema: Schema, keyword: str) -> bool:
    value = schema.get(keyword, False)
    if not isinstance(value, bool):
        raise wrong_value("a boolean", value, location, keyword)
    return value


def read_names(location: str, schema: Schema, keyword: str) -> tuple[str, ...]:
    value = schema.get(keyword, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise wrong_value("a list of strings", value, location, keyword)
    return tuple(dict.fromkeys(value))


def read_table(location: str, schema: Schema, keyword: str) -> dict[str, Any]:
    value = schema.get(keyword, {})
    if not isinstance(value, dict):
        raise wrong_value("an object", value, location, keyword)
    return value

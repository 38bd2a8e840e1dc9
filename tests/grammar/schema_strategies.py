"""Random JSON Schemas of the supported keywords, and instances that come near them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "c", 'q"\\', "é")
PATTERNS = ("^a", "b$", "^[a-c]*$", "^x-", "[0-9]{2,3}", "é|\\\\", '"', "^(ab|abc)$", ".")
TEXTS = (
    "",
    "a",
    "ab",
    "abc",
    "x-1",
    'q"\\',
    "é",
    "漢字",
    "😀",
    "b\n",
    "\x00\x1f",
    "123",
    "/\u2028",
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    5,
    10,
    99,
    100,
    -17,
    0.5,
    -0.25,
    1.5,
    0.1,
    99.999,
    1e-7,
    2.5e-05,
    1e16,
    3.25e18,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.integers(-120, 120),
    st.sampled_from(TEXTS),
    st.text(max_size=4),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from((*NAMES, "d", "x-y")), inner, max_size=4),
    ),
    max_leaves=6,
)
documents: st.SearchStrategy[str] = st.recursive(
    scalars.map(lambda value: json.dumps(value, ensure_ascii=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(st.sampled_from((*NAMES[:3], "d")), inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f'"{name}": {text}' for name, text in pairs) + "}"
        ),
    ),
    max_leaves=6,
)
"""JSON texts whose objects may have one name several times."""
_types = st.sampled_from(("null", "boolean", "integer", "number", "string", "array", "object"))
_counts = st.integers(0, 3)
_bounds = st.one_of(st.sampled_from(NUMBERS), st.integers(-20, 20))


def _object(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
            "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
            "additionalProperties": st.one_of(st.booleans(), inner),
            "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), inner, max_size=2),
            "propertyNames": inner,
            "maxProperties": _counts,
            "minProperties": st.integers(0, 1),
            "unevaluatedProperties": st.one_of(st.booleans(), inner),
            "dependentRequired": st.dictionaries(
                st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2), max_size=1
            ),
        },
    )


_leaf = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"type": st.one_of(_types, st.lists(_types, min_size=1, max_size=3))}),
    st.fixed_dictionaries({"enum": st.lists(values, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"const": values}),
    st.fixed_dictionaries(
        {},
        optional={
            "type": _types,
            "minimum": _bounds,
            "exclusiveMinimum": _bounds,
            "maximum": _bounds,
            "exclusiveMaximum": _bounds,
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("string"),
            "minLength": _counts,
            "maxLength": _counts,
            "pattern": st.sampled_from(PATTERNS),
        },
    ),
)


_few = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"type": st.sampled_from(("null", "boolean"))}),
    st.fixed_dictionaries({"enum": st.lists(values, min_size=1, max_size=4)}),
    st.tuples(st.integers(-2, 2), st.integers(0, 3)).map(
        lambda pair: {"type": "integer", "minimum": pair[0], "maximum": sum(pair)}
    ),
)
"""Schemas with few values, or none, or all."""


def _grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        _object(inner),
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.just("array"),
                "items": inner,
                "prefixItems": lists,
                "minItems": _counts,
                "maxItems": _counts,
                "contains": inner,
                "minContains": st.integers(0, 2),
                "maxContains": st.integers(0, 2),
                "unevaluatedItems": inner,
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array"), "uniqueItems": st.booleans(), "items": _few},
            optional={
                "prefixItems": st.lists(st.one_of(_few, inner), min_size=1, max_size=3),
                "minItems": _counts,
                "maxItems": _counts,
                "contains": _few,
                "maxContains": st.integers(0, 2),
            },
        ),
        st.fixed_dictionaries(
            {},
            optional={
                "anyOf": lists,
                "allOf": lists,
                "oneOf": lists,
                "type": _types,
                "not": inner,
                "unevaluatedProperties": st.booleans(),
                "unevaluatedItems": st.booleans(),
            },
        ),
        st.fixed_dictionaries({"if": inner}, optional={"then": inner, "else": inner}),
        st.fixed_dictionaries(
            {"$ref": st.sampled_from(("#/$defs/one", "#/$defs/two"))}, optional={"type": _types}
        ),
    )


_inner = st.recursive(_leaf, _grow, max_leaves=6)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A schema document with two definitions that may refer to each other."""
    schema = draw(_grow(_inner))
    schema["$defs"] = {"one": draw(_inner), "two": draw(_inner)}
    return schema

"""What docs/json-schema.md says of each keyword, with the examples that prove it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Keyword:
    """how: what is enforced. limits: what is refused, and what to use. example: a schema; `takes`
    and `refuses` are texts. refused: a schema that is refused for the keyword. status: of a keyword
    that refuses no text."""

    how: str
    example: Any = True
    takes: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    limits: str = ""
    refused: Any = None
    status: str = "annotation"
    registry: dict[str, Any] = field(default_factory=dict)


_NOTHING = "means nothing for a value"
_NODE = {"properties": {"a": {"$ref": "#"}}, "type": "object"}

_CORE = {
    "$schema": Keyword(
        "the dialect: drafts 3 to 2020-12, or a metaschema in the registry, by its `$vocabulary`",
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {"type": "string"}},
            "$ref": "#/definitions/a",
            "maxLength": 1,
        },
        ('"ab"',),
        ("1",),
        "other dialects: leave it out, or give the metaschema in `registry`",
    ),
    "$id": Keyword(
        "the base URI of references below it",
        {"$id": "http://e.org/a", "$defs": {"b": {"$id": "b", "const": 1}}, "$ref": "b"},
        ("1",),
        ("2",),
    ),
    "$ref": Keyword(
        "by pointer, anchor or URI, beside siblings, recursive through a member or an item; "
        "URIs of the `registry`",
        {**_NODE, "properties": {"a": {"$ref": "#"}, "b": {"$ref": "urn:b"}}},
        ('{"a": {"b": 1}}',),
        ('{"a": 1}', '{"a": {"b": 2}}'),
        "a URI that is not in the schema or the registry; a schema that refers to itself with no "
        "value in between",
        registry={"urn:b": {"const": 1}},
    ),
    "$anchor": Keyword(
        "a name for `$ref`",
        {"$defs": {"x": {"$anchor": "a", "const": 1}}, "$ref": "#a"},
        ("1",),
        ("2",),
    ),
    "$dynamicRef": Keyword(
        "the outermost `$dynamicAnchor` of its name on the way to it, found without a value",
        {
            "$id": "http://e.org/strict",
            "$dynamicAnchor": "node",
            "$ref": "tree",
            "unevaluatedProperties": False,
        },
        ('{"a": {}}',),
        ('{"a": {"b": 1}}',),
        "more than 1,000 different scopes",
        registry={
            "http://e.org/tree": {
                "$dynamicAnchor": "node",
                "properties": {"a": {"$dynamicRef": "#node"}},
            }
        },
    ),
    "$dynamicAnchor": Keyword(
        "see `$dynamicRef`; a name for `$ref`, too",
        {"$dynamicAnchor": "a", "type": "array", "items": {"$dynamicRef": "#a"}},
        ("[[]]",),
        ("[1]",),
    ),
    "$defs": Keyword("holds schemas", {"$defs": {"a": False}}, ("1",), status="enforced"),
    "$vocabulary": Keyword(
        "of a metaschema in the registry: keywords of vocabularies it does not list mean nothing",
        {"$schema": "urn:own", "type": "null", "properties": {"a": False}},
        ("1",),
        ('{"a": 1}',),
        "a vocabulary that is required and not known",
        registry={
            "urn:own": {
                "$vocabulary": {
                    f"https://json-schema.org/draft/2020-12/vocab/{name}": True
                    for name in ("core", "applicator")
                }
            }
        },
    ),
    "$comment": Keyword(_NOTHING, {"$comment": "x"}, ("1",)),
}
_APPLICATOR = {
    "allOf": Keyword(
        "the schemas' intersection, worked out once",
        {"allOf": [{"type": "string"}, {"maxLength": 1}]},
        ('"a"',),
        ('"ab"', "1"),
        "more than 20,000 combinations of alternatives",
    ),
    "anyOf": Keyword(
        "the schemas' union",
        {"anyOf": [{"type": "null"}, {"minimum": 3}]},
        ("null", "3"),
        ("1",),
        "as `allOf`",
    ),
    "oneOf": Keyword(
        "each branch less the values it shares with others",
        {"oneOf": [{"multipleOf": 2}, {"minimum": 5}]},
        ("2", "7"),
        ("6", "1"),
        "branches that overlap where one has no complement (see `not`): tell them apart by `type` "
        "or a required `const`, or use `anyOf`",
        {"oneOf": [{"type": "array"}, {"uniqueItems": True}]},
    ),
    "not": Keyword(
        "the complement, exactly",
        {"not": {"required": ["a"], "properties": {"a": {"type": "string"}}}},
        ("{}", '{"a": 1}'),
        ('{"a": "x"}', "1"),
        "of `uniqueItems`; of `unevaluated*` where alternatives evaluate different parts; of "
        "`enum`s of many arrays and objects",
    ),
    "if": Keyword(
        "both cases",
        {"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": "null"}},
        ('"ab"', "null"),
        ('"a"', "1"),
        "where the condition has no complement (see `not`)",
    ),
    "then": Keyword("see `if`", {"if": True, "then": {"type": "null"}}, ("null",), ("1",)),
    "else": Keyword("see `if`", {"if": False, "else": {"type": "null"}}, ("null",), ("1",)),
    "dependentSchemas": Keyword(
        "by cases",
        {"dependentSchemas": {"a": {"required": ["b"]}}},
        ("{}", '{"a": 1, "b": 2}'),
        ('{"a": 1}',),
    ),
    "prefixItems": Keyword(
        "each by its place",
        {"prefixItems": [{"type": "null"}, {"type": "integer"}]},
        ("[]", "[null, 1, true]"),
        ("[1]", "[null, null]"),
    ),
    "items": Keyword(
        "all items after the prefix", {"items": {"type": "null"}}, ("[null]",), ("[1]",)
    ),
    "contains": Keyword(
        "counted",
        {"type": "array", "contains": {"type": "null"}},
        ("[1, null]",),
        ("[]", "[1]"),
        "more than 3 for one array",
    ),
    "properties": Keyword(
        "in the schema's order, or in any order for at most 10",
        {"properties": {"a": {"type": "null"}}},
        ('{"a": null, "b": 1}',),
        ('{"a": 1}',),
        "more than some 2,600 optional ones in one object (all required: 10,000)",
    ),
    "patternProperties": Keyword(
        "names by pattern, written and declared ones",
        {"patternProperties": {"^a": {"type": "null"}}},
        ('{"ab": null, "b": 1}',),
        ('{"ab": 1}',),
        "more than 6 patterns for one object",
    ),
    "additionalProperties": Keyword(
        "closed, or of a schema; such a name may be written twice (a decoder keeps the last), and "
        "every one of its values fits",
        {"properties": {"a": True}, "additionalProperties": {"type": "null"}},
        ('{"a": 1, "b": null}',),
        ('{"b": 1}',),
    ),
    "propertyNames": Keyword(
        "names as strings", {"propertyNames": {"maxLength": 1}}, ('{"a": 1}',), ('{"ab": 1}',)
    ),
}
_UNEVALUATED = {
    "unevaluatedItems": Keyword(
        "what no keyword beside it, or applied in place, evaluated",
        {"allOf": [{"prefixItems": [True]}], "unevaluatedItems": False},
        ("[1]",),
        ("[1, 2]",),
        "negated, where alternatives evaluate different parts",
        {
            "not": {
                "anyOf": [
                    {"prefixItems": [True], "minItems": 1},
                    {"prefixItems": [True, True], "maxItems": 5},
                ],
                "unevaluatedItems": False,
            }
        },
    ),
    "unevaluatedProperties": Keyword(
        "as `unevaluatedItems`",
        {"anyOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
        ('{"a": 1}',),
        ('{"b": 1}',),
        "as `unevaluatedItems`",
        {
            "not": {
                "anyOf": [
                    {"properties": {"a": True}, "required": ["a"]},
                    {"properties": {"b": True}, "required": ["b"]},
                ],
                "unevaluatedProperties": False,
            }
        },
    ),
}
_VALIDATION = {
    "type": Keyword("also lists", {"type": ["string", "integer"]}, ('"a"', "1"), ("1.5", "null")),
    "enum": Keyword(
        "any values, compared as JSON Schema does", {"enum": [1, [2], "a"]}, ("[2]", "1"), ("2",)
    ),
    "const": Keyword("as `enum`", {"const": {"a": 1}}, ('{"a": 1}',), ('{"a": 2}',)),
    "multipleOf": Keyword(
        "exact decimals, where the step has the prime factors 2, 5 and one 3 and few digits",
        {"multipleOf": 1.5},
        ("0", "4.5"),
        ("1", "4"),
        "other steps, unless bounds leave 1,000 multiples: add `minimum` and `maximum`",
        {"multipleOf": 7},
    ),
    "maximum": Keyword("exact decimals", {"maximum": 1.5}, ("1.5", "-9"), ("1.51",)),
    "exclusiveMaximum": Keyword(
        "decimals keep to the doubles below it", {"exclusiveMaximum": 2}, ("1.9",), ("2", "2.0")
    ),
    "minimum": Keyword("exact decimals", {"minimum": 1.5}, ("1.5", "9"), ("1.49",)),
    "exclusiveMinimum": Keyword(
        "decimals keep to the doubles above it", {"exclusiveMinimum": 2}, ("2.1",), ("2", "2.0")
    ),
    "maxLength": Keyword("in characters", {"maxLength": 2}, ('"éé"',), ('"abc"',)),
    "minLength": Keyword("in characters", {"minLength": 2}, ('"éé"',), ('"a"',)),
    "pattern": Keyword(
        "ECMA-262 with the flag u, searched; together with lengths and formats",
        {"pattern": "^[a-z]+$", "minLength": 2},
        ('"ab"',),
        ('"a"', '"AB"'),
        "backreferences, word boundaries, lookarounds inside repetitions",
        {"pattern": r"(a)\1"},
    ),
    "maxItems": Keyword("any count", {"maxItems": 1}, ("[1]",), ("[1, 2]",)),
    "minItems": Keyword("any count", {"minItems": 1}, ("[1]",), ("[]",)),
    "uniqueItems": Keyword(
        "where the values that two items could both be are few (`enum`, `boolean`, small integer "
        "ranges, prefixes that differ): at most 2,048 sets of them, as 11 values in any number",
        {"items": {"enum": ["a", "b", 1]}, "uniqueItems": True},
        ('["b", 1, "a"]', "[]"),
        ('["a", "a"]', "[1, 1]"),
        "elsewhere, as of strings: list the values with `enum`, or set `maxItems`",
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    ),
    "maxContains": Keyword(
        "counted", {"contains": {"type": "null"}, "maxContains": 1}, ("[null]",), ("[null, null]",)
    ),
    "minContains": Keyword(
        "counted; 0 lets `contains` go",
        {"contains": {"type": "null"}, "minContains": 2},
        ("[null, 1, null]",),
        ("[null]",),
    ),
    "maxProperties": Keyword(
        "members written", {"maxProperties": 1}, ('{"a": 1}',), ('{"a": 1, "b": 2}',)
    ),
    "minProperties": Keyword(
        "where names cannot repeat",
        {"properties": {"a": True, "b": True}, "minProperties": 2, "additionalProperties": False},
        ('{"a": 1, "b": 2}',),
        ('{"a": 1}',),
        "above 1 (or the number of required names) beside additional properties: close the object, "
        "or use `required`",
        {"type": "object", "minProperties": 2},
    ),
    "required": Keyword("also of names without `properties`", {"required": ["a"]}, ("1",), ("{}",)),
    "dependentRequired": Keyword(
        "by cases",
        {"dependentRequired": {"a": ["b"]}},
        ("{}", '{"a": 1, "b": 2}'),
        ('{"a": 1}',),
    ),
}
_META = {
    name: Keyword(_NOTHING, {name: "x"}, ("1",))
    for name in ("title", "description", "deprecated", "readOnly", "writeOnly", "examples")
}
_META["default"] = Keyword("means nothing: a value is never filled in", {"default": 1}, ("2",))
_FORMAT = {
    "format": Keyword(
        'asserted, or annotated with `format="annotate"`; see below',
        {"format": "date"},
        ('"2024-02-29"', "1"),
        ('"2023-02-29"',),
        "see below",
        {"format": "regex"},
    )
}
_CONTENT = {
    name: Keyword("as the specification has it", {name: value}, ('"x"',))
    for name, value in (
        ("contentEncoding", "base64"),
        ("contentMediaType", "application/json"),
        ("contentSchema", False),
    )
}
KEYWORDS: dict[str, Keyword] = (
    _CORE | _APPLICATOR | _UNEVALUATED | _VALIDATION | _META | _FORMAT | _CONTENT
)
_DRAFT_4 = "http://json-schema.org/draft-04/schema#"
OLDER: dict[str, Keyword] = {
    "definitions": Keyword(
        "as `$defs`",
        {"definitions": {"a": {"const": 1}}, "$ref": "#/definitions/a"},
        ("1",),
        ("2",),
    ),
    "id": Keyword(
        "as `$id`, in draft 4",
        {"$schema": _DRAFT_4, "definitions": {"a": {"id": "#a", "enum": [1]}}, "$ref": "#a"},
        ("1",),
        ("2",),
    ),
    "items (a list)": Keyword(
        "as `prefixItems`", {"items": [{"type": "null"}]}, ("[null, 1]",), ("[1]",)
    ),
    "additionalItems": Keyword(
        "beside a list of `items`, as `items` is today",
        {"items": [True], "additionalItems": {"type": "null"}},
        ("[1, null]",),
        ("[1, 2]",),
    ),
    "dependencies": Keyword(
        "as `dependentRequired` and `dependentSchemas`",
        {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
        ('{"a": 1, "b": 2}',),
        ('{"a": 1}', '{"c": 1}'),
    ),
    "exclusiveMinimum (a boolean)": Keyword(
        "a flag beside `minimum`, in draft 4",
        {"minimum": 2, "exclusiveMinimum": True},
        ("3",),
        ("2",),
    ),
    "exclusiveMaximum (a boolean)": Keyword(
        "a flag beside `maximum`, in draft 4",
        {"maximum": 2, "exclusiveMaximum": True},
        ("1",),
        ("2",),
    ),
    "$recursiveRef": Keyword(
        "of draft 2019-09: as `$dynamicRef`, to `$recursiveAnchor`",
        {"$recursiveAnchor": True, "type": "array", "items": {"$recursiveRef": "#"}},
        ("[[]]",),
        ("[1]",),
    ),
    "$recursiveAnchor": Keyword(
        "see `$recursiveRef`", {"$recursiveAnchor": True}, ("1",), status="enforced"
    ),
    "$ref (beside others)": Keyword(
        "in drafts 3 to 7, `$ref` hides its siblings",
        {"$schema": _DRAFT_4, "definitions": {"a": {"enum": ["ab"]}}, "$ref": "#/definitions/a",
         "maxLength": 1},
        ('"ab"',),
        ('"a"',),
    ),
}  # fmt: skip
"""Spellings of older drafts that are read beside today's."""

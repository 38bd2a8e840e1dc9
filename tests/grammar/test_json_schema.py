"""json_schema_ir against jsonschema, and its errors."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, example, given, settings, strategies as st

from espalier.errors import GrammarError
from espalier.grammar import ir
from espalier.grammar.json_schema import json_schema_ir
from espalier.grammar.spec import GrammarSpec
from tests.grammar.ir_oracle import Oracle
from tests.grammar.schema_strategies import documents, schemas, values


def grammar(schema: Any, **options: Any) -> ir.GrammarIR:
    spec = GrammarSpec.json_schema(schema, **options)
    return json_schema_ir(spec.source, spec)


def accepts(schema: Any, text: str, **options: Any) -> bool:
    return Oracle(grammar(schema, **options)).accepts(text)


def refused(schema: Any, **options: Any) -> GrammarError:
    with pytest.raises(GrammarError) as caught:
        grammar(schema, **options)
    assert type(caught.value) is GrammarError
    return caught.value


def valid(schema: Any, value: Any) -> bool:
    """What jsonschema says; schemas that send it round in circles are not considered."""
    try:
        return bool(jsonschema.Draft202012Validator(schema).is_valid(value))
    except RecursionError:
        assume(False)
        raise


def canonical(schema: Any, value: Any) -> bool:
    """No whole float: `integer` is written without a fraction on purpose."""
    if isinstance(value, float):
        return not value.is_integer()
    if isinstance(value, dict):
        return all(canonical(schema, item) for item in value.values())
    return not isinstance(value, list) or all(canonical(schema, item) for item in value)


def orders(value: Any) -> Iterator[str]:
    """The value's texts with its members in every order."""
    if isinstance(value, dict):
        for names in permutations(value):
            for texts in product(*(list(orders(value[name])) for name in names)):
                pairs = zip(names, texts, strict=True)
                members = (
                    f"{json.dumps(name, ensure_ascii=False)}: {text}" for name, text in pairs
                )
                yield "{" + ", ".join(members) + "}"
    elif isinstance(value, list):
        for texts in product(*(list(orders(item)) for item in value)):
            yield f"[{', '.join(texts)}]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def negates(schema: Any) -> bool:
    """Whether the schema could ask for *some* additional member, which binds those after it."""
    if isinstance(schema, dict):
        found = {"not", "if", "oneOf", "maxContains"} & schema.keys()
        return bool(found) or any(map(negates, schema.values()))
    return isinstance(schema, list) and any(map(negates, schema))


# -- the whole front end against jsonschema --------------------------------------------------------


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(schemas(), st.lists(values, min_size=1, max_size=8))
def test_verdicts_are_those_of_jsonschema(schema: dict[str, Any], instances: list[Any]) -> None:
    try:
        oracle = Oracle(grammar(schema, property_order="any"))
    except GrammarError as error:
        if "no value satisfies" in str(error):
            assert not any(valid(schema, value) for value in instances)
        assume(False)
    for value in instances:
        if canonical(schema, value):
            text = json.dumps(value, ensure_ascii=False)
            accepted, wanted = oracle.accepts(text), valid(schema, value)
            if wanted and not accepted and negates(schema):
                accepted = any(map(oracle.accepts, orders(value)))
            assert accepted is wanted, (schema, text)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(schemas(), st.lists(documents, min_size=1, max_size=8))
@example(
    {"type": "object", "not": {"additionalProperties": {"type": "string"}}}, ['{"a": 1, "a": "s"}']
)
@example(
    {"type": "object", "not": {"patternProperties": {"^a": {"type": "string"}}}},
    ['{"a": 1, "a": "s"}', '{"a": 1, "b": 2, "a": "s"}'],
)
@example(
    {"if": {"additionalProperties": {"type": "integer"}}, "then": {"required": ["n"]}},
    ['{"a": "s", "a": 3}', '{"a": "s", "b": null, "b": 3, "a": 3}'],
)
def test_what_repeated_names_decode_to_is_valid(schema: dict[str, Any], texts: list[str]) -> None:
    try:
        oracle = Oracle(grammar(schema, property_order="any"))
    except GrammarError:
        assume(False)
    for text in texts:
        if oracle.accepts(text):
            assert valid(schema, json.loads(text)), (schema, text)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    schemas(),
    st.integers(0, 2**32),
    st.sampled_from(("json", "compact", "free")),
    st.sampled_from(("declared", "any")),
    st.booleans(),
)
def test_every_text_decodes_to_a_valid_value(
    schema: dict[str, Any], seed: int, whitespace: Any, order: Any, ascii: bool
) -> None:
    try:
        built = grammar(schema, whitespace=whitespace, property_order=order, ascii=ascii)
    except GrammarError:
        assume(False)
    oracle = Oracle(built)
    for step in range(4):
        text = oracle.sample(seed + step)
        if text is not None:
            assert valid(schema, json.loads(text)), (schema, text)
            assert not ascii or text.isascii()


@pytest.mark.parametrize("whitespace", ["json", "compact", "free"])
@pytest.mark.parametrize("ascii", [False, True])
def test_any_json_takes_what_json_dumps_writes(whitespace: Any, ascii: bool) -> None:
    value = {"a": [1, -2.5, 1e-07, {"é": None}, []], "": {}, "😀\n": [True, False, "\x00漢"]}
    separators = (",", ":") if whitespace == "compact" else None
    text = json.dumps(value, ensure_ascii=ascii, separators=separators)
    oracle = Oracle(grammar(True, whitespace=whitespace, ascii=ascii))
    assert oracle.accepts(text)
    assert oracle.accepts(json.dumps(value, indent=2, ensure_ascii=ascii)) is (whitespace == "free")
    assert not oracle.accepts(text + " ")
    for broken in (
        '{"a":}',
        "[1,]",
        "[1 2]",
        '{"a": 1',
        "nul",
        "'a'",
        "01",
        "+1",
        ".5",
        "1.",
        '"\n"',
    ):
        assert not oracle.accepts(broken)


# -- single keywords -------------------------------------------------------------------------------


def test_keywords_say_nothing_about_other_types() -> None:
    schema = {"minLength": 3, "minimum": 5, "properties": {"a": False}, "minItems": 1}
    for text in ("null", "true", "7", '"abc"', '{"b": 1}', "[1]"):
        assert accepts(schema, text)
    for text in ("4", '"ab"', '{"a": 1}', "[]"):
        assert not accepts(schema, text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"exclusiveMinimum": 1}, "1.00000000000000000001"),
        ({"exclusiveMaximum": 1}, "0.99999999999999999999"),
        ({"exclusiveMinimum": 0, "maximum": 1}, f"0.{'0' * 400}1"),
        ({"exclusiveMinimum": 0}, "1e-324"),
        ({"maximum": 0.1}, "0.10000000000000001"),
        ({"not": {"const": 0.5}}, "0.50000000000000000001"),
        ({"not": {"type": "integer"}}, "0.99999999999999999999"),
        ({"not": {"multipleOf": 0.5}}, "1.00000000000000000001"),
    ],
)
def test_what_a_number_is_rounded_to_is_valid(schema: dict[str, Any], text: str) -> None:
    schema = {"type": "number", **schema}
    if accepts(schema, text):
        assert valid(schema, json.loads(text))
    near = float(text)
    for value in (near, math.nextafter(near, -math.inf), math.nextafter(near, math.inf)):
        if "multipleOf" not in str(schema):
            assert accepts(schema, json.dumps(value)) is valid(schema, value), value


def test_recursion_through_members_and_items() -> None:
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "children"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    }
    leaf = '{"value": "x", "children": []}'
    assert accepts(schema, leaf)
    assert accepts(schema, f'{{"value": "r", "children": [{leaf}, {leaf}]}}')
    assert not accepts(schema, '{"value": "r", "children": [1]}')


def test_literals_melt_into_runs() -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"const": "a"}, "n": {"type": "integer"}},
        "required": ["kind", "n"],
        "additionalProperties": False,
    }
    built = grammar(schema)
    body = built.rules["#"]
    assert isinstance(body, ir.Seq)
    assert body.items[0] == ir.Term(ir.Lit('{"kind": "a", "n": '))
    assert body.items[-1] == ir.Term(ir.Lit("}"))


def test_equal_subschemas_share_their_rule() -> None:
    item = {"$ref": "#/$defs/item"}
    schema = {
        "$defs": {"item": {"type": "array", "items": {"type": "null"}}},
        "properties": {"a": item, "b": item, "c": {"$ref": "#/$defs/alias"}},
        "additionalProperties": False,
        "type": "object",
    }
    schema["$defs"]["alias"] = {"$ref": "#/$defs/item"}
    assert sorted(grammar(schema).rules) == ["#", "#/$defs/item", "start"]


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keyword", "value"), [("uniqueItems", True), ("format", "regex")])
def test_what_is_not_enforced_is_refused_by_name(keyword: str, value: Any) -> None:
    error = refused({"properties": {"a/b~": {keyword: value}}})
    assert f"`{keyword}`" in error.message
    assert error.where == f"#/properties/a~1b~0/{keyword}"
    assert error.hint


def test_lenient_drops_and_lists() -> None:
    built = grammar({"properties": {"a": {"uniqueItems": True, "type": "array"}}}, lenient=True)
    assert built.dropped == ("#/properties/a/uniqueItems",)
    assert Oracle(built).accepts('{"a": []}')
    assert not Oracle(built).accepts('{"a": 1}')


def test_lenient_one_of_becomes_any_of_where_branches_overlap() -> None:
    branch = {"properties": {"a": {"multipleOf": 7}}}
    schema = {"type": "object", "oneOf": [branch, {"uniqueItems": True}]}
    assert "`oneOf` branches 0 and 1" in refused(schema).message
    built = grammar(schema, lenient=True)
    assert built.dropped == ("#/oneOf", "#/oneOf/0/properties/a")
    assert Oracle(built).accepts('{"a": 1}')


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        (False, "#"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "#/properties/a"),
        ({"type": "string", "enum": [1, 2]}, "#"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "#"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"], "type": "object"}, "#"),
        ({"type": "array", "items": {"not": {}}, "minItems": 1}, "#"),
        ({"allOf": [{"type": "string"}, {"type": "number"}]}, "#"),
        ({"type": []}, "#"),
    ],
)
def test_schemas_without_values(schema: Any, where: str) -> None:
    error = refused(schema)
    assert "no value satisfies" in error.message
    assert error.where == where


def test_the_innermost_hopeless_place_is_named() -> None:
    inner = {"type": "object", "properties": {"b": {"enum": []}}, "required": ["b"]}
    middle = {"type": "array", "items": inner, "minItems": 1}
    schema = {"type": "object", "properties": {"a": middle}, "required": ["a"]}
    deep = schema
    for name in "xyz":
        deep = {"type": "object", "properties": {name: deep}, "required": [name]}
    path = "#/properties/z/properties/y/properties/x/properties/a/items/properties/b"
    assert refused(deep).where == path


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "strin"}, "#/type"),
        ({"type": 3}, "#/type"),
        ({"minLength": -1}, "#/minLength"),
        ({"minLength": True}, "#/minLength"),
        ({"maxItems": "3"}, "#/maxItems"),
        ({"type": "array", "minItems": 2**64}, "#/minItems"),
        ({"type": "string", "minLength": 1e300}, "#/minLength"),
        ({"minimum": "0"}, "#/minimum"),
        ({"multipleOf": 0}, "#/multipleOf"),
        ({"items": {"multipleOf": 7}}, "#/items"),
        ({"required": "a"}, "#/required"),
        ({"required": True}, "#/required"),
        ({"properties": []}, "#/properties"),
        ({"properties": {"a": 3}}, "#/properties/a"),
        ({"enum": 3}, "#/enum"),
        ({"pattern": 3}, "#/pattern"),
        ({"pattern": "(a"}, "#/pattern"),
        ({"pattern": "(?:a(?=b))*"}, "#/pattern"),
        ({"patternProperties": {"(": {}}}, "#/patternProperties/("),
        ({"prefixItems": 3}, "#/prefixItems"),
        ({"anyOf": []}, "#/anyOf"),
        ({"allOf": {}}, "#/allOf"),
        ({"dependentRequired": 3}, "#/dependentRequired"),
        ({"dependentRequired": {"a": "b"}}, "#/dependentRequired/a"),
        ({"$ref": "#/nowhere"}, "#/$ref"),
        ({"$ref": "#anchor"}, "#/$ref"),
        ({"$ref": 3}, "#/$ref"),
        ({"$ref": "other.json"}, "#/$ref"),
        ({"$id": "http://e.org", "items": {"$id": "//[x"}}, "#/items/$id"),
        ({"$id": "http://e.org", "items": {"$ref": "//[x"}}, "#/items/$ref"),
        ({"$dynamicRef": "#x"}, "#/$dynamicRef"),
        ({"uniqueItems": 1}, "#/uniqueItems"),
        ({"$ref": "#"}, "#"),
        ({"allOf": [{"$ref": "#"}]}, "#"),
        ({"not": {"$ref": "#"}}, "#"),
        ({"$schema": "http://example.org/own"}, "#/$schema"),
        ({"enum": ["\ud800"]}, "#/enum"),
    ],
)
def test_wrong_schemas_name_their_place(schema: Any, where: str) -> None:
    error = refused(schema)
    assert error.where == where
    assert error.message or error.expected


@pytest.mark.parametrize("schema", [3, None, [], "not json", '{"type":', "3", "NaN"])
def test_no_schema_at_all(schema: Any) -> None:
    spec = GrammarSpec.json_schema(True)
    with pytest.raises(GrammarError):
        json_schema_ir(schema, spec)


def test_json_text_is_read() -> None:
    spec = GrammarSpec.json_schema('{"type": "null"}')
    assert Oracle(json_schema_ir(spec.source, spec)).accepts("null")


def _nested(depth: int, keyword: str) -> Any:
    schema: Any = {}
    for _ in range(depth):
        schema = {keyword: [schema]} if keyword == "allOf" else {keyword: {"a": schema}}
    return schema


HOSTILE = {
    "allOf 500 deep": '{"allOf": [' * 500 + "true" + "]}" * 500,
    "arrays 100,000 deep": "[" * 100_000,
    "properties 400 deep": _nested(400, "properties"),
    "oneOf 30 deep": json.loads(
        '{"oneOf":[' * 30 + '{"type":"null"}' + ',{"type":"string"}]}' * 30
    ),
    "not 40 wide": {"allOf": [{"not": {"required": [f"a{i}", f"b{i}"]}} for i in range(40)]},
    "anyOf 2^30": {
        "allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(30)]
    },
    "mutual refs": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "5,000 properties": {"type": "object", "properties": {f"p{i}": {} for i in range(5_000)}},
    "minItems 1e9": {"type": "array", "minItems": 10**9},
    "maxLength 1e9": {"type": "string", "maxLength": 10**9, "pattern": "^a"},
    "enum 20,000": {"enum": [f"value {i}" for i in range(20_000)]},
    "5,000 numbers excluded": {"type": "number", "not": {"enum": list(range(5_000))}},
    "wide numbers": {"type": "number", "minimum": 10**400, "maximum": 10**401},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_end_soon(name: str) -> None:
    import time

    begin = time.process_time()
    with contextlib.suppress(GrammarError):
        grammar(HOSTILE[name])
    assert time.process_time() - begin < 2.5


@pytest.mark.parametrize("keyword", ["maxLength", "maxItems", "maxProperties", "maxContains"])
@pytest.mark.parametrize("bound", [2**53 + 1, 2**64, 1e300])
def test_a_maximum_that_nothing_reaches(keyword: str, bound: float) -> None:
    built = grammar({keyword: bound, "contains": {}, "type": ["string", "array", "object"]})
    assert ir.decode(ir.encode(built)) == built
    assert Oracle(built).accepts('["a"]')


def test_a_schema_that_json_cannot_write() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"not": deep}
    loop: dict[str, Any] = {}
    loop["not"] = loop
    for schema, said in ((deep, "too deeply"), (loop, "Circular"), ({"enum": [{1}]}, "set")):
        with pytest.raises(GrammarError, match=said):
            GrammarSpec.json_schema(schema)

"""Objects and arrays: orders, counts and additional members, against direct checks."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import GrammarError
from espalier.grammar import ir
from espalier.grammar.json_schema import json_schema_ir
from espalier.grammar.spec import GrammarSpec
from tests.grammar.ir_oracle import Oracle


def oracle(schema: Any, **options: Any) -> Oracle:
    spec = GrammarSpec.json_schema(schema, **options)
    return Oracle(json_schema_ir(spec.source, spec))


def members(names: str) -> str:
    return "{" + ", ".join(f'"{name}": {index}' for index, name in enumerate(names)) + "}"


def schema(declared: str, required: str = "", **more: Any) -> dict[str, Any]:
    properties = {name: {"type": "integer"} for name in declared}
    return {"type": "object", "properties": properties, "required": list(required), **more}


@settings(max_examples=60)
@given(
    st.integers(0, 5),
    st.sets(st.sampled_from("abcde")),
    st.booleans(),
    st.integers(0, 2),
    st.one_of(st.none(), st.integers(0, 4)),
    st.booleans(),
)
def test_members_in_order_and_in_any(
    width: int, required: set[str], open_: bool, low: int, high: int | None, any_order: bool
) -> None:
    declared = "abcde"[:width]
    needed = "".join(sorted(required & set(declared)))
    low = min(low, 1) if open_ else low
    limits: dict[str, Any] = {"minProperties": low} | (
        {} if high is None else {"maxProperties": high}
    )
    text = schema(declared, needed, additionalProperties=open_, **limits)
    order = "any" if any_order else "declared"
    try:
        grammar = oracle(text, property_order=order)
    except GrammarError:
        most = len(declared) if high is None else min(high, len(declared))
        if open_ and high is None:
            most = low
        assert (high if open_ and high is not None else most) < max(low, len(needed))
        return
    for count in range(min(width + 2, 5)):
        for names in itertools.permutations("abcdex"[:width] + "x" * open_, count):
            inside = [name for name in names if name in declared]
            wanted = (
                set(needed) <= set(names)
                and count >= low
                and (high is None or count <= high)
                and (any_order or (inside == sorted(inside) and "x" not in names[:-1]))
            )
            assert grammar.accepts(members("".join(names))) is wanted, (text, names)


@pytest.mark.parametrize("order", ["declared", "any"])
def test_declared_names_never_repeat_and_additional_ones_may(order: Any) -> None:
    grammar = oracle(schema("ab", "a"), property_order=order)
    assert grammar.accepts('{"a": 1, "b": 2, "x": null, "x": 3}')
    for names in ("aa", "abb", "axa", "abxb"):
        assert not grammar.accepts(members(names))


SOME_NUMBER = {"type": "object", "not": {"additionalProperties": {"type": "string"}}}
SOME_A = {"type": "object", "not": {"patternProperties": {"^a": {"type": "string"}}}}


@pytest.mark.parametrize("order", ["declared", "any"])
def test_what_some_member_must_have_no_later_one_undoes(order: Any) -> None:
    grammar = oracle(SOME_NUMBER, property_order=order)
    for good in ('{"a": 1}', '{"a": "s", "a": 1}', '{"b": "s", "a": 1}', '{"a": 1, "a": 2}'):
        assert grammar.accepts(good), good
    for bad in ("{}", '{"a": "s"}', '{"a": 1, "a": "s"}', '{"a": 1, "b": 2, "a": "s"}'):
        assert not grammar.accepts(bad), bad
    grammar = oracle(SOME_A, property_order=order)
    for good in ('{"a": 1, "b": "s"}', '{"b": "s", "ab": "s", "a": 1}', '{"a": 1, "ab": null}'):
        assert grammar.accepts(good), good
    for bad in ('{"a": 1, "a": "s"}', '{"b": 1}', '{"a": 1, "b": 2, "a": "s"}'):
        assert not grammar.accepts(bad), bad


def test_a_declared_member_cannot_be_undone() -> None:
    grammar = oracle(
        {"properties": {"k": True}, "required": ["k"], **SOME_NUMBER}, property_order="any"
    )
    for good in ('{"k": 1, "b": "s"}', '{"b": "s", "k": 1, "b": "t"}', '{"b": 1, "k": "s"}'):
        assert grammar.accepts(good), good
    assert not grammar.accepts('{"k": "s", "b": 1, "b": "s"}')


def test_members_asked_for_by_different_values_are_refused() -> None:
    integer = {"additionalProperties": {"type": "integer"}}
    both = {"type": "object", "allOf": [{"not": integer}, SOME_NUMBER]}
    with pytest.raises(GrammarError, match="names could be the same") as caught:
        oracle(both)
    assert caught.value.where == "#"
    spec = GrammarSpec.json_schema(both, lenient=True)
    assert json_schema_ir(spec.source, spec).dropped == ("#",)
    closed = oracle({**both, "properties": {"a": True, "b": True}, "additionalProperties": False})
    assert closed.accepts('{"a": 1, "b": "s"}')
    # One implies the other: a boolean is neither a number nor an integer.
    number = {"additionalProperties": {"type": "number"}}
    grammar = oracle({"type": "object", "allOf": [{"not": integer}, {"not": number}]})
    assert grammar.accepts('{"a": 1, "b": 0.5, "a": true}')
    assert not grammar.accepts('{"a": true, "a": 0.5}')
    assert not grammar.accepts('{"a": 0.5}')
    branches = [{"additionalProperties": {"type": name}} for name in ("string", "integer", "null")]
    grammar = oracle({"type": "object", "oneOf": branches, "minProperties": 1})
    assert grammar.accepts('{"a": 1, "a": 2}')
    assert not grammar.accepts('{"a": 1, "a": "s"}')


def test_no_escape_smuggles_a_declared_name_in() -> None:
    grammar = oracle(schema("a", "", additionalProperties={"type": "string"}))
    assert grammar.accepts('{"b": "x"}')
    assert not grammar.accepts('{"\\u0061": "x"}')
    closed = oracle(schema("é", "", additionalProperties={"type": "string"}), ascii=True)
    assert closed.accepts('{"\\u00e9": 1}')
    assert not closed.accepts('{"\\u00E9": "x"}')
    assert not closed.accepts('{"\\u00e9": "x"}')


def test_patterns_share_names_with_declared_members() -> None:
    grammar = oracle(
        {
            "type": "object",
            "properties": {"ab": {"minimum": 0}},
            "patternProperties": {"^a": {"type": "integer"}, "b$": {"maximum": 9}},
            "additionalProperties": {"type": "null"},
        }
    )
    for good in ('{"ab": 5}', '{"a": 99}', '{"b": 9.5}', '{"b": "x"}', '{"c": null}', '{"aab": 9}'):
        assert grammar.accepts(good) is ("9.5" not in good), good
    for bad in (
        '{"ab": -1}',
        '{"ab": 10}',
        '{"ab": 0.5}',
        '{"a": null}',
        '{"c": 1}',
        '{"aab": 10}',
    ):
        assert not grammar.accepts(bad), bad


def test_property_names_bind_declared_and_additional_names() -> None:
    grammar = oracle(
        {
            "type": "object",
            "properties": {"long": True, "ab": {"type": "null"}},
            "propertyNames": {"maxLength": 2, "pattern": "^[a-z]"},
        }
    )
    assert grammar.accepts('{"ab": null, "c": 1}')
    assert not grammar.accepts('{"long": 1}')
    assert not grammar.accepts('{"abc": 1}')
    assert not grammar.accepts('{"C": 1}')
    names = oracle({"type": "object", "propertyNames": {"enum": ["a", "b", 3]}})
    assert names.accepts('{"b": 1, "a": 2}')
    assert not names.accepts('{"c": 1}')


def test_wide_optional_objects_are_linear() -> None:
    sizes = []
    for width in (100, 200, 400, 800):
        spec = GrammarSpec.json_schema(
            {"properties": {f"p{i}": {"type": "null"} for i in range(width)}}
        )
        sizes.append(len(ir.encode(json_schema_ir(spec.source, spec))))
    steps = [after / before for before, after in itertools.pairwise(sizes)]
    assert max(steps) < 2.2


def test_wide_optional_objects_keep_their_order() -> None:
    names = [f"p{i}" for i in range(70)]
    grammar = oracle({"type": "object", "properties": {name: {"type": "null"} for name in names}})
    for picks in ([], [0], [69], [0, 69], [3, 17, 18, 40, 41], list(range(70))):
        assert grammar.accepts(json.dumps({names[i]: None for i in picks}))
    assert grammar.accepts(json.dumps({"p1": None, "q": 1}))
    assert not grammar.accepts(json.dumps({"p40": None, "p3": None}))
    assert not grammar.accepts(json.dumps({"q": 1, "p1": None}))


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(GrammarError, match="minProperties"):
        oracle({"type": "object", "minProperties": 2})
    with pytest.raises(GrammarError, match="any order"):
        oracle(schema("abcdefghijk"), property_order="any")
    wide = {f"p{i}": {"type": "null"} for i in range(300)}
    with pytest.raises(GrammarError, match="combinations"):
        oracle({"type": "object", "properties": wide, "maxProperties": 200})
    many = {f"^{i}": {"const": i} for i in range(9)}
    with pytest.raises(GrammarError, match="patternProperties"):
        oracle({"type": "object", "patternProperties": many})


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ({}, ["[]", "[1]", '[1, "a"]'], ["[1,]", "[,]", "[1 2]"]),
        ({"minItems": 2}, ["[1, 2]", "[1, 2, 3]"], ["[]", "[1]"]),
        ({"maxItems": 0}, ["[]"], ["[1]"]),
        ({"maxItems": 2}, ["[]", "[1, 2]"], ["[1, 2, 3]"]),
        ({"minItems": 2, "maxItems": 2}, ["[1, 2]"], ["[1]", "[1, 2, 3]"]),
        ({"items": False}, ["[]"], ["[1]"]),
        ({"prefixItems": [{"const": 1}, {"const": 2}]}, ["[]", "[1]", "[1, 2, 5]"], ["[2]"]),
        ({"prefixItems": [{"const": 1}], "items": False}, ["[]", "[1]"], ["[1, 2]"]),
        ({"prefixItems": [True, False]}, ["[]", "[1]"], ["[1, 2]"]),
        (
            {"prefixItems": [True] * 3, "items": {"type": "null"}, "minItems": 2, "maxItems": 4},
            ["[1, 2]", "[1, 2, 3]", "[1, 2, 3, null]"],
            ["[1]", "[1, 2, 3, 4]", "[1, 2, 3, null, null]"],
        ),
        ({"items": [{"const": 1}], "additionalItems": {"const": 2}}, ["[1, 2, 2]"], ["[1, 1]"]),
    ],
    ids=str,
)
def test_arrays(text: dict[str, Any], good: list[str], bad: list[str]) -> None:
    grammar = oracle({"type": "array", **text})
    assert [item for item in good if not grammar.accepts(item)] == []
    assert [item for item in bad if grammar.accepts(item)] == []


def test_long_prefixes_do_not_nest_deeply() -> None:
    spec = GrammarSpec.json_schema({"type": "array", "prefixItems": [{"type": "null"}] * 2000})
    grammar = json_schema_ir(spec.source, spec)
    assert ir.decode(ir.encode(grammar)) == grammar


@pytest.mark.parametrize("order", ["declared", "any"])
def test_constants_with_members(order: Any) -> None:
    grammar = oracle({"enum": [{"b": [1, {"c": "x"}], "a": 2.5}, [], {}]}, property_order=order)
    assert grammar.accepts('{"b": [1, {"c": "x"}], "a": 2.5}')
    assert grammar.accepts('{"a": 2.5, "b": [1.0, {"c": "x"}]}') is (order == "any")
    assert grammar.accepts("[]")
    assert grammar.accepts("{}")
    for bad in ('{"b": [1, {"c": "x"}]}', "[1]", '{"a": 2.5}', '{"b": [1], "a": 2.5}'):
        assert not grammar.accepts(bad)

"""Applicators and negation: worked cases beside the drawn ones of test_json_schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from espalier.errors import GrammarError
from espalier.grammar.json_document import Document
from espalier.grammar.json_logic import Logic
from espalier.grammar.json_rivals import rivals
from espalier.grammar.json_schema import json_schema_ir
from espalier.grammar.spec import GrammarSpec
from tests.grammar.ir_oracle import Oracle


def oracle(schema: Any, **options: Any) -> Oracle:
    spec = GrammarSpec.json_schema(schema, **options)
    return Oracle(json_schema_ir(spec.source, spec))


def check(schema: Any, good: list[str], bad: list[str]) -> None:
    grammar = oracle(schema, property_order="any")
    assert [text for text in good if not grammar.accepts(text)] == []
    assert [text for text in bad if grammar.accepts(text)] == []


def test_all_of_merges_members() -> None:
    check(
        {
            "allOf": [
                {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"a": {"minimum": 3}, "b": {"type": "null"}}},
            ],
            "type": "object",
        },
        ['{"a": 3}', '{"a": 4, "b": null}'],
        ['{"a": 2}', "{}", '{"a": 3, "b": 1}', "3"],
    )


def test_closed_parts_close_the_whole() -> None:
    schema = {
        "allOf": [
            {"properties": {"a": True}, "additionalProperties": False},
            {"properties": {"b": True}},
        ],
        "type": "object",
    }
    check(schema, ["{}", '{"a": 1}'], ['{"b": 1}', '{"a": 1, "b": 1}'])


def test_one_of_by_discriminator_is_any_of() -> None:
    def kind(name: str, **more: Any) -> dict[str, Any]:
        properties = {"kind": {"const": name}, **more}
        return {"type": "object", "properties": properties, "required": list(properties)}

    schema = {"oneOf": [kind("a", x={"type": "integer"}), kind("b", y={"type": "integer"})]}
    check(
        schema,
        ['{"kind": "a", "x": 1}', '{"kind": "b", "y": 1}', '{"kind": "a", "x": 1, "y": "free"}'],
        ['{"kind": "a", "y": 1}', '{"kind": "c", "x": 1}', "1"],
    )


def _tagged(count: int) -> list[dict[str, Any]]:
    return [
        {
            "type": "object",
            "properties": {"kind": {"const": f"k{i}"}, "v": {"type": "integer", "minimum": i}},
            "required": ["v", "kind"],
        }
        for i in range(count)
    ]


def test_one_of_has_room_for_many_branches_that_constants_tell_apart() -> None:
    texts = [{"const": f"a{i}", "title": f"{i}"} for i in range(500)]
    schema = {"oneOf": [*texts, {"type": "integer"}, {"const": 7}, *_tagged(500)]}
    check(
        schema,
        ['"a0"', '"a499"', "6", '{"v": 499, "kind": "k499"}'],
        ['"a500"', "7", '{"v": 498, "kind": "k499"}', '{"v": 1, "kind": "k500"}'],
    )


def test_one_of_with_a_member_that_is_the_whole_again() -> None:
    leaf = {"type": "object", "properties": {"op": {"const": "leaf"}}, "required": ["op"]}
    pair = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "op": {"const": "pair"}},
        "required": ["left", "op"],
    }
    more = {**pair, "properties": {"left": {"$ref": "#"}, "op": {"enum": ["next", "last"]}}}
    check(
        {"oneOf": [pair, more, leaf]},
        ['{"op": "leaf"}', '{"left": {"left": {"op": "leaf"}, "op": "next"}, "op": "pair"}'],
        ['{"op": "pair"}', '{"left": 1, "op": "next"}', '{"left": {"op": "x"}, "op": "last"}'],
    )


_SCALARS = st.sampled_from([1, 2, "a", "b", None, True])
_MEMBERS = st.dictionaries(
    st.sampled_from(["kind", "x"]),
    st.one_of(
        st.builds(lambda value: {"const": value}, _SCALARS),
        st.builds(lambda values: {"enum": values}, st.lists(_SCALARS, min_size=1, max_size=3)),
        st.sampled_from([{"type": "string"}, {"type": "integer"}, {}, {"enum": [[1], {"a": 1}]}]),
    ),
)
_BRANCHES = st.one_of(
    st.builds(lambda value: {"const": value}, _SCALARS),
    st.sampled_from([{"type": ["string", "null"]}, {"type": "integer", "minimum": 2}, {}]),
    st.builds(
        lambda members, bare, more: {
            **({} if bare else {"type": "object"}),
            "properties": members,
            "required": sorted({*members, *more}),
        },
        _MEMBERS,
        st.booleans(),
        st.sampled_from([[], ["kind"], ["y"]]),
    ),
    st.just({"enum": [{"kind": "a"}, "b", 1]}),
)


@given(st.lists(_BRANCHES, min_size=2, max_size=7))
def test_rivals_are_the_pairs_that_are_not_disjoint(branches: list[Any]) -> None:
    document = Document({"oneOf": branches})
    logic = Logic(document, assert_formats=False, ascii=False, lenient=False)
    parts = [logic.reference(f"#/oneOf/{i}") for i in range(len(branches))]
    found = rivals(logic, parts)
    for i, part in enumerate(parts):
        naive = [
            j
            for j, other in enumerate(parts)
            if j != i and not logic.disjoint(logic.expand(part), logic.expand(other))
        ]
        assert sorted(found[i]) == naive


def test_one_of_over_overlapping_branches_takes_exactly_one() -> None:
    check(
        {"oneOf": [{"minimum": 2}, {"maximum": 5}, {"const": 3.5}]},
        ["1", "6"],
        ["3", "3.5", "null", '"a"'],
    )
    check(
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
        ['{"a": 1}', '{"b": 1}', '{"a": 1, "c": 1}'],
        ["{}", '{"a": 1, "b": 1}'],
    )
    check({"oneOf": [{"type": "string"}, {"pattern": "^a"}]}, ['"b"', "1"], ['"a"', '"ab"'])


def test_equal_branches_exclude_each_other() -> None:
    branch = {"type": "string"}
    with pytest.raises(GrammarError, match="no value"):
        oracle({"oneOf": [branch, branch]})
    definitions = {"$defs": {"s": branch}}
    both = {"oneOf": [{"$ref": "#/$defs/s"}, {"$ref": "#/$defs/s"}, {"type": "null"}]}
    check({**definitions, **both}, ["null"], ['"a"'])


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, ["1", "null", "[]"], ['"a"']),
        ({"type": "integer"}, ["1.5", '"a"'], ["1", "-3"]),
        ({"type": ["integer", "string"]}, ["1.5", "null"], ["1", '"a"']),
        ({"enum": ["a", 1, None]}, ['"b"', "2", "true", "{}"], ['"a"', "1", "1.0", "null"]),
        ({"const": True}, ["false", "1"], ["true"]),
        ({"minimum": 3}, ["2", "2.99"], ["3", "3.0", '"a"', "null"]),
        ({"multipleOf": 3}, ["1", "1.5"], ["0", "3", "-6.0", '"a"']),
        ({"exclusiveMaximum": 3}, ["3", "4"], ["2.5", "null"]),
        ({"minLength": 2}, ['"a"', '""'], ['"ab"', "1"]),
        ({"maxLength": 1}, ['"ab"'], ['"a"', "1"]),
        ({"pattern": "^a"}, ['"b"', '""'], ['"a"', "1"]),
        ({"format": "date"}, ['"x"'], ['"2024-01-01"', "1"]),
        ({"minItems": 2}, ["[]", "[1]"], ["[1, 2]", "1"]),
        ({"maxItems": 1}, ["[1, 2]"], ["[1]", "[]", "1"]),
        ({"prefixItems": [{"type": "null"}]}, ["[1]", "[1, 2]"], ["[]", "[null]", "1"]),
        ({"items": False}, ["[1]"], ["[]", "1"]),
        ({"required": ["a", "b"]}, ["{}", '{"a": 1}'], ['{"a": 1, "b": 2}', "1"]),
        ({"properties": {"a": {"type": "null"}}}, ['{"a": 1}'], ["{}", '{"a": null}', "1"]),
        ({"maxProperties": 0}, ['{"a": 1}'], ["{}", "1"]),
        ({"minProperties": 1}, ["{}"], ['{"a": 1}', "1"]),
        ({"dependentRequired": {"a": ["b"]}}, ['{"a": 1}'], ["{}", '{"a": 1, "b": 1}', "1"]),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, ['{"a": 1}'], ["{}", "1"]),
        ({"dependencies": {"a": ["b"]}}, ['{"a": 1}'], ["{}", "1"]),
        ({"allOf": [{"type": "string"}, {"minLength": 2}]}, ["1", '"a"'], ['"ab"']),
        ({"anyOf": [{"type": "string"}, {"minimum": 2}]}, ["1"], ['"a"', "2", "null"]),
        ({"oneOf": [{"minimum": 2}, {"type": "integer"}]}, ["2", "1.5"], ["1", "2.5", "null"]),
        ({"not": {"type": "string"}}, ['"a"'], ["1"]),
        ({"if": {"type": "string"}, "then": {"minLength": 2}}, ['"a"'], ['"ab"', "1"]),
        ({"if": {"type": "null"}, "else": {"minimum": 2}}, ["1"], ["null", "2", '"a"']),
        ({"items": {"type": "null"}}, ["[1]", "[null, 1]"], ["[]", "[null]", "1"]),
        (
            {"prefixItems": [True], "items": {"type": "null"}},
            ["[1, 2]", "[1, null, 3]"],
            ["[]", "[1]", "[1, null]"],
        ),
        ({"contains": {"type": "null"}}, ["[]", "[1]"], ["[null]", "[1, null]", "1"]),
        ({"contains": True}, ["[]"], ["[1]", "1"]),
        (
            {"contains": {"type": "null"}, "minContains": 2, "maxContains": 3},
            ["[]", "[null, 1]", "[null, null, null, null]"],
            ["[null, 1, null]", "[null, null, null]", "1"],
        ),
        ({"contains": {"type": "null"}, "minContains": 0}, [], []),
        (
            {"properties": {"a": True}, "additionalProperties": {"type": "null"}},
            ['{"b": 1}', '{"a": 1, "b": null, "c": 1}'],
            ["{}", '{"a": 1}', '{"b": null}', "1"],
        ),
        (
            {"patternProperties": {"^a": {"type": "null"}}, "properties": {"ab": True}},
            ['{"a": 1}', '{"ab": 1}', '{"b": 1, "ac": 1}'],
            ["{}", '{"a": null, "ab": null}', '{"b": 1}', "1"],
        ),
        ({"additionalProperties": False}, ['{"a": 1}'], ["{}", "1"]),
        ({"propertyNames": {"maxLength": 1}}, ['{"ab": 1}'], ["{}", '{"a": 1}', "1"]),
        (
            {"const": {"a": 1, "b": [2]}},
            ["{}", '{"a": 1}', '{"a": 2, "b": [2]}', '{"a": 1, "b": [2], "c": 3}', "1"],
            ['{"a": 1, "b": [2]}', '{"b": [2], "a": 1}'],
        ),
        (
            {"enum": [[1, "a"], [], {}, 3]},
            ["[1]", '[1, "b"]', '[1, "a", 2]', '{"a": 1}', "4"],
            ['[1, "a"]', "[]", "{}", "3"],
        ),
        ({"unevaluatedItems": False}, ["[1]"], ["[]", "1"]),
        (
            {"prefixItems": [{"type": "null"}], "unevaluatedItems": {"type": "string"}},
            ["[1]", "[null, 1]", '[null, "a", 2]'],
            ["[]", "[null]", '[null, "a"]', "1"],
        ),
        (
            {"contains": {"type": "null"}, "unevaluatedItems": {"type": "string"}},
            ["[]", "[1]", '["a"]', "[null, 1]"],
            ["[null]", '["a", null]', "1"],
        ),
        (
            {"properties": {"a": True}, "unevaluatedProperties": {"type": "null"}},
            ['{"b": 1}', '{"a": 1, "b": 1}'],
            ["{}", '{"a": 1}', '{"b": null, "a": 1}', "1"],
        ),
        (
            {
                "allOf": [{"properties": {"a": {"type": "string"}}}],
                "patternProperties": {"^b": True},
                "unevaluatedProperties": False,
            },
            ['{"a": 1}', '{"c": 1}', '{"b": 1, "c": 2}'],
            ["{}", '{"a": "x", "b": 1}', "1"],
        ),
        ({"required": ["a"], "unevaluatedProperties": True}, ["{}"], ['{"a": 1, "b": 2}']),
        ({"multipleOf": 1.5}, ["1", "1.55", "-0.5"], ["0", "1.5", "-3.0", "4.5", '"a"']),
        (False, ["1", "null"], []),
    ],
    ids=str,
)
def test_negations(schema: Any, good: list[str], bad: list[str]) -> None:
    if good:
        check({"not": schema}, good, bad)
    if schema is not False:
        check({"not": {"not": schema}}, bad, good)


def test_if_then_else() -> None:
    check(
        {
            "type": "object",
            "properties": {"kind": {"enum": ["a", "b"]}},
            "required": ["kind"],
            "if": {"properties": {"kind": {"const": "a"}}},
            "then": {"required": ["x"]},
            "else": {"required": ["y"]},
        },
        ['{"kind": "a", "x": 1}', '{"kind": "b", "y": 1}', '{"kind": "a", "x": 1, "y": 2}'],
        ['{"kind": "a", "y": 1}', '{"kind": "b", "x": 1}', '{"kind": "c", "x": 1}'],
    )


def test_enum_is_filtered_by_what_stands_beside_it() -> None:
    schema = {
        "enum": ["a", "bb", 3, 4.5, [1, "x"], [2], {"k": 1}, {"k": "v"}, None],
        "pattern": "^b",
        "minimum": 4,
        "items": {"type": "integer"},
        "properties": {"k": {"type": "string"}},
    }
    check(
        schema,
        ['"bb"', "4.5", "[2]", '{"k": "v"}', "null"],
        ['"a"', "3", '[1, "x"]', '{"k": 1}', "[]", "{}"],
    )


def test_booleans_are_no_numbers_and_whole_floats_are_integers() -> None:
    check({"enum": [1, False]}, ["1", "1.0", "false"], ["true", "0"])
    check({"const": [0]}, ["[0]", "[0.0]"], ["[false]"])
    check({"type": "integer", "enum": [2.0, 2.5]}, ["2"], ["2.0", "2.5"])


def test_references_with_siblings() -> None:
    definitions = {"$defs": {"s": {"type": "string", "minLength": 2}}}
    check({**definitions, "$ref": "#/$defs/s", "maxLength": 3}, ['"ab"'], ['"a"', '"abcd"'])
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": definitions["$defs"],
    }
    check({**old, "$ref": "#/definitions/s", "maxLength": 3}, ['"ab"', '"abcd"'], ['"a"'])


def test_recursion_under_negation_is_bounded() -> None:
    tree = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}
    check(
        {**tree, "anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}, ["[[], [[]]]", "null"], ["1"]
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"multipleOf": 7}},
        {"not": {"uniqueItems": True}},
        {
            "not": {
                "anyOf": [{"properties": {name: True}, "required": [name]} for name in "ab"],
                "unevaluatedProperties": False,
            }
        },
        {"not": {"enum": [{chr(97 + i): i for i in range(9)}, [*range(9)], [*range(9, 30)]]}},
    ],
    ids=str,
)
def test_what_has_no_complement_here_is_refused(schema: Any) -> None:
    with pytest.raises(GrammarError) as caught:
        oracle(schema)
    assert "#" in str(caught.value.where)
    assert "`" in caught.value.message

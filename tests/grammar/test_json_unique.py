"""`uniqueItems`: worked cases, and every short array against jsonschema."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import jsonschema
import pytest

from espalier.errors import GrammarError
from espalier.grammar import ir
from espalier.grammar.json_schema import json_schema_ir
from espalier.grammar.spec import GrammarSpec
from tests.grammar.ir_oracle import Oracle


def grammar(schema: Any, **options: Any) -> ir.GrammarIR:
    spec = GrammarSpec.json_schema(schema, **options)
    return json_schema_ir(spec.source, spec)


ITEMS = (0, 1, 2, True, False, None, "", "a", "b", [], {}, {"a": 1, "b": 2})
EXACT = [
    {"items": {"enum": ["a", "b", 1, True, None]}},
    {"items": {"type": "integer", "minimum": 0, "maximum": 2}},
    {"items": {"type": ["boolean", "null"]}, "minItems": 1},
    {"items": {"enum": [1, 1.0, True, "1"]}, "minItems": 2},
    {"items": {"enum": [[], {}, {"a": 1, "b": 2}, {"b": 2, "a": 1}]}},
    {"items": {"maxLength": 0, "type": "string"}},
    {"items": True, "maxItems": 1},
    {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    {"prefixItems": [{"enum": ["a", "b"]}, {"type": "string"}], "items": False},
    {"prefixItems": [{"type": "string"}, {"enum": ["a", "b"]}], "items": {"enum": ["a", 1]}},
    {"prefixItems": [{"type": "string"}, {"type": "number"}], "items": {"type": "boolean"}},
    {"prefixItems": [{"enum": ["a", 1]}], "items": {"enum": ["b", 2]}, "maxItems": 2},
    {"items": {"enum": ["a", "b", 1, 2]}, "contains": {"type": "string"}, "maxContains": 1},
    {"items": {"enum": [0, 1, 2]}, "contains": {"minimum": 1}, "minContains": 2},
    {"prefixItems": [True], "items": False},
]


@pytest.mark.parametrize("schema", EXACT, ids=str)
def test_every_short_array(schema: Any) -> None:
    schema = {"type": "array", "uniqueItems": True, **schema}
    oracle = Oracle(grammar(schema))
    validator = jsonschema.Draft202012Validator(schema)
    for size in range(4):
        for items in product(ITEMS, repeat=size):
            found = oracle.accepts(json.dumps(items))
            assert found is validator.is_valid(list(items)), items


def test_longer_arrays() -> None:
    letters = "abcdefghijk"
    oracle = Oracle(grammar({"type": "array", "uniqueItems": True, "items": {"enum": [*letters]}}))
    assert oracle.accepts(json.dumps([*letters]))
    assert oracle.accepts(json.dumps([*reversed(letters)]))
    assert not oracle.accepts(json.dumps([*letters, "e"]))


def test_too_few_values_for_min_items() -> None:
    with pytest.raises(GrammarError, match="no value satisfies"):
        grammar(
            {"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b"]}, "minItems": 3}
        )


REFUSED = [
    {"items": {"type": "string"}},
    {"items": {"enum": [f"value {i}" for i in range(40)]}},
    {"items": {"type": "integer", "minimum": 0, "maximum": 1000}},
    {"items": {"type": "number", "minimum": 0, "maximum": 1}},
    {"prefixItems": [{"type": "string"}, {"minLength": 2, "type": "string"}]},
    {"prefixItems": [{"type": "boolean"}]},
    {},
]


@pytest.mark.parametrize("schema", REFUSED, ids=lambda schema: str(schema)[:40])
def test_what_two_items_could_both_be_in_too_many_ways(schema: Any) -> None:
    schema = {"type": "array", "uniqueItems": True, **schema}
    with pytest.raises(GrammarError, match="`uniqueItems` is not supported") as caught:
        grammar({"properties": {"a": schema}})
    assert caught.value.where == "#/properties/a/uniqueItems"
    assert caught.value.hint
    built = grammar({"properties": {"a": schema}}, lenient=True)
    assert built.dropped == ("#/properties/a/uniqueItems",)


def test_few_of_many_values() -> None:
    """Two of forty: 821 sets."""
    values = [f"value {i}" for i in range(40)]
    schema = {"type": "array", "uniqueItems": True, "items": {"enum": values}, "maxItems": 2}
    oracle = Oracle(grammar(schema))
    assert oracle.accepts(json.dumps(values[3:5]))
    assert not oracle.accepts(json.dumps([values[3], values[3]]))


def test_a_constant_array_may_not_repeat() -> None:
    oracle = Oracle(grammar({"enum": [[1, 1.0], [1, True], [[1], [1]], "a"], "uniqueItems": True}))
    assert oracle.accepts("[1, true]")
    assert oracle.accepts('"a"')
    assert not oracle.accepts("[1, 1]")
    assert not oracle.accepts("[[1], [1]]")

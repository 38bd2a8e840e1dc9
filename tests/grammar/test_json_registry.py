"""References out of the schema, and dynamic ones (the public suite has more of both)."""

from __future__ import annotations

from typing import Any

import pytest

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary, ir
from espalier.grammar.json_document import Document
from espalier.grammar.json_schema import json_schema_ir
from tests.grammar.ir_oracle import Oracle


def grammar(schema: Any, registry: dict[str, Any] | None = None, **options: Any) -> ir.GrammarIR:
    spec = GrammarSpec.json_schema(schema, registry=registry, property_order="any", **options)
    return json_schema_ir(spec.source, spec)


def accepts(schema: Any, text: str, registry: dict[str, Any] | None = None) -> bool:
    return Oracle(grammar(schema, registry)).accepts(text)


NODE = {
    "$defs": {"leaf": {"$anchor": "leaf", "type": "integer"}},
    "type": "array",
    "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#leaf"}]},
}


def test_a_reference_into_the_registry() -> None:
    registry = {"http://example.org/node": NODE, "http://example.org/broken": "no JSON"}
    schema = {"properties": {"a": {"$ref": "http://example.org/node"}}}
    assert accepts(schema, '{"a": [1, [2, []]]}', registry)
    assert not accepts(schema, '{"a": [1, ["x"]]}', registry)
    relative = {"$id": "http://example.org/own", "$ref": "node#/$defs/leaf"}
    assert accepts(relative, "3", registry)
    assert not accepts(relative, "[3]", registry)


def test_a_part_of_the_registry_under_a_name_of_its_own() -> None:
    whole = {"$defs": {"a": {"$id": "urn:example:part", "type": "null"}}}
    registry = {"http://example.org/whole": whole, "http://example.org/broken": "no JSON"}
    assert accepts({"$ref": "urn:example:part"}, "null", registry)
    assert not accepts({"$ref": "urn:example:part"}, "1", registry)


def test_what_the_registry_lacks() -> None:
    with pytest.raises(GrammarError, match="leads out of the schema") as caught:
        grammar({"items": {"$ref": "http://example.org/b"}}, {"http://example.org/a": True})
    assert caught.value.where == "#/items/$ref"
    assert "registry" in str(caught.value.hint)


def test_errors_name_the_document() -> None:
    for broken, where in (
        ({"items": {"type": "strin"}}, "http://e.org/a#/items/type"),
        ("{", "http://e.org/a#"),
        ({"$ref": "#/nowhere"}, "http://e.org/a#/$ref"),
    ):
        with pytest.raises(GrammarError) as caught:
            grammar({"items": {"$ref": "http://e.org/a"}}, {"http://e.org/a": broken})
        assert caught.value.where == where


def test_what_lenient_drops_names_the_document() -> None:
    registry = {"http://e.org/a": {"uniqueItems": True, "type": "array"}}
    built = grammar({"items": {"$ref": "http://e.org/a"}}, registry, lenient=True)
    assert built.dropped == ("http://e.org/a#/uniqueItems",)


def test_a_document_keeps_its_own_draft() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#/definitions/s",
        "maxLength": 1,
        "definitions": {"s": {"type": "string"}},
    }
    new = {"$ref": "#/$defs/s", "maxLength": 1, "$defs": {"s": {"type": "string"}}}
    schema = {"properties": {"old": {"$ref": "urn:old"}, "new": {"$ref": "urn:new"}}}
    registry = {"urn:old": old, "urn:new": new}
    assert accepts(schema, '{"old": "ab"}', registry)
    assert not accepts(schema, '{"new": "ab"}', registry)


def test_a_registry_reaches_the_matcher() -> None:
    vocabulary = Vocabulary([bytes([i]) for i in range(256)] + [b""], [256], [256])
    compiler = GrammarCompiler(vocabulary)
    specs = [
        GrammarSpec.json_schema({"$ref": "urn:a"}, registry={"urn:a": {"const": value}})
        for value in (1, 2)
    ]
    assert compiler.compile(specs[0]).explain("1").accepted
    assert compiler.compile(specs[1]).explain("2").accepted
    assert not compiler.compile(specs[0]).explain("2").accepted


# -- dynamic references ----------------------------------------------------------------------------

TREE = {
    "$id": "http://e.org/tree",
    "$dynamicAnchor": "node",
    "type": "object",
    "properties": {"data": True, "children": {"type": "array", "items": {"$dynamicRef": "#node"}}},
}
STRICT = {
    "$id": "http://e.org/strict",
    "$dynamicAnchor": "node",
    "$ref": "tree",
    "unevaluatedProperties": False,
}


def test_a_dynamic_reference_means_the_outermost_anchor() -> None:
    registry = {"http://e.org/tree": TREE}
    misspelt = '{"children": [{"daat": 1}]}'
    assert accepts({"$ref": "http://e.org/tree"}, misspelt, registry)
    assert not accepts(STRICT, misspelt, registry)
    assert accepts(STRICT, '{"children": [{"data": 1}]}', registry)


def test_one_subschema_in_two_scopes() -> None:
    schema = {"properties": {"any": {"$ref": "tree"}, "strict": {"$ref": "strict"}}}
    registry = {"http://e.org/tree": TREE, "http://e.org/strict": STRICT}
    schema["$id"] = "http://e.org/both"  # type: ignore[assignment]
    built = Oracle(grammar(schema, registry))
    assert built.accepts('{"any": {"children": [{"daat": 1}]}}')
    assert not built.accepts('{"strict": {"children": [{"daat": 1}]}}')
    assert built.accepts('{"strict": {"children": [{"data": 1}]}}')


def test_locations_shown_have_no_scope() -> None:
    schema = {
        "$dynamicAnchor": "a",
        "properties": {"b": {"$dynamicRef": "#a"}, "c": {"type": "array", "uniqueItems": True}},
    }
    built = grammar(schema, lenient=True)
    assert built.dropped == ("#/properties/c/uniqueItems",)
    assert all(name.isprintable() for name in built.rules)
    with pytest.raises(GrammarError) as caught:
        grammar(schema)
    assert caught.value.where == "#/properties/c/uniqueItems"


def test_recursive_references_of_draft_2019() -> None:
    tree = {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": "http://e.org/tree",
        "$recursiveAnchor": True,
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$recursiveRef": "#"}}},
    }
    strict = {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": "http://e.org/strict",
        "$recursiveAnchor": True,
        "$ref": "tree",
        "unevaluatedProperties": False,
    }
    registry = {"http://e.org/tree": tree}
    misspelt = '{"children": [{"child": 1}]}'
    assert accepts({"$ref": "http://e.org/tree"}, misspelt, registry)
    assert not accepts(strict, misspelt, registry)
    assert not accepts({**strict, "$recursiveAnchor": False}, '{"child": 1}', registry)
    assert accepts({**strict, "$recursiveAnchor": False}, misspelt, registry)


def test_scopes_are_bounded() -> None:
    """2^12 ways to choose who defines each of twelve anchors first."""
    names = [f"n{i}" for i in range(12)]
    defs: dict[str, Any] = {"end": {"anyOf": [{"$dynamicRef": f"#{name}"} for name in names]}}
    for place, name in enumerate(names):
        following = {"$ref": f"http://e.org/step{place + 1}" if place < 11 else "/#/$defs/end"}
        for side in "lr":
            defs[f"{side}{place}"] = {
                "$id": f"http://e.org/{side}{place}",
                "$defs": {"x": {"$dynamicAnchor": name, "const": f"{side}{name}"}},
                "properties": {"a": following},
            }
        sides = [{"$ref": f"http://e.org/{side}{place}"} for side in "lr"]
        defs[f"step{place}"] = {
            "$id": f"http://e.org/step{place}",
            "properties": dict(zip("lr", sides, strict=True)),
        }
    schema = {"$id": "http://e.org/", "$ref": "step0", "$defs": defs}
    schema["$defs"]["all"] = {  # type: ignore[index]
        "$id": "http://e.org/all",
        "$defs": {name: {"$dynamicAnchor": name} for name in names},
    }
    with pytest.raises(GrammarError, match="too many dynamic scopes"):
        grammar(schema)


# -- dialects --------------------------------------------------------------------------------------


def _vocabularies(**used: bool) -> dict[str, Any]:
    base = "https://json-schema.org/draft/2020-12/vocab/"
    return {"$vocabulary": {base + name.replace("_", "-"): on for name, on in used.items()}}


def test_vocabularies_of_a_dialect() -> None:
    registry = {"urn:dialect": _vocabularies(core=True, applicator=True)}
    schema = {"$schema": "urn:dialect", "properties": {"a": False}, "required": ["b"]}
    assert accepts(schema, "{}", registry)
    assert not accepts(schema, '{"a": 1}', registry)
    registry = {"urn:dialect": _vocabularies(core=True, validation=True)}
    assert not accepts(schema, "{}", registry)
    assert accepts(schema, '{"a": 1, "b": 2}', registry)
    for required, fine in ((False, True), (True, False)):
        listed = {"$vocabulary": {"urn:unknown": required}}
        if fine:
            grammar(schema, {"urn:dialect": listed})
        else:
            with pytest.raises(GrammarError, match="'urn:unknown' is required"):
                grammar(schema, {"urn:dialect": listed})


def test_only_what_is_referred_to_is_read() -> None:
    unread = (("urn:a", '{"unevaluatedItems": false}'), ("urn:b", "no JSON"))
    assert not Document({"$ref": "#"}, unread).mentions("unevaluatedItems")
    assert Document({"$ref": "urn:a"}, unread).mentions("unevaluatedItems")

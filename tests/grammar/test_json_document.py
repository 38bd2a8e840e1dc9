"""Locations, references, base URIs and anchors."""

from __future__ import annotations

from typing import Any

import pytest

from espalier.errors import GrammarError
from espalier.grammar import json_document
from espalier.grammar.json_document import Document, child


def target(schema: Any, reference: str, location: str = "#") -> str:
    return Document(schema).target(location, reference)


def test_locations_are_escaped_pointers() -> None:
    assert child("#", "properties", "a/b~c", 0) == "#/properties/a~1b~0c/0"
    schema = {"properties": {"a/b~c": {"prefixItems": [True, {"type": "null"}]}}}
    document = Document(schema)
    assert document.at("#/properties/a~1b~0c/prefixItems/1") == {"type": "null"}
    assert document.at("#/properties/a~1b~0c/prefixItems/0") is True
    assert document.exists("#/properties/a~1b~0c")
    assert not document.exists("#/properties/a")
    assert not document.exists("#/properties/a~1b~0c/prefixItems/2")
    assert not document.exists("#/properties/a~1b~0c/prefixItems")


@pytest.mark.parametrize(
    ("reference", "location"),
    [
        ("#", "#"),
        ("#/$defs/a", "#/$defs/a"),
        ("#/$defs/a%20b", "#/$defs/a b"),
        ("#/$defs/s~1t", "#/$defs/s~1t"),
        ("#here", "#/$defs/a"),
        ("item.json", "#/$defs/item"),
        ("http://x.org/base/item.json#/$defs/deep", "#/$defs/item/$defs/deep"),
        ("item.json#inner", "#/$defs/item/$defs/deep"),
        ("/base/root.json", "#"),
        ("urn:uuid:7#in", "#/$defs/named/$defs/in"),
    ],
)
def test_references(reference: str, location: str) -> None:
    schema = {
        "$id": "http://x.org/base/root.json",
        "$defs": {
            "a": {"$anchor": "here"},
            "a b": True,
            "s/t": True,
            "item": {"$id": "item.json", "$defs": {"deep": {"$anchor": "inner"}}},
            "named": {"$id": "urn:uuid:7", "$defs": {"in": {"$anchor": "in"}}},
        },
    }
    assert target(schema, reference) == location


def test_references_resolve_against_the_nearest_id() -> None:
    schema = {
        "$id": "http://x.org/",
        "$defs": {
            "in": {"$id": "sub/", "$defs": {"x": True}, "items": {"$ref": "other.json"}},
            "other": {"$id": "http://x.org/sub/other.json"},
        },
    }
    assert target(schema, "other.json", "#/$defs/in/items") == "#/$defs/other"
    assert target(schema, "#/$defs/x", "#/$defs/in/items") == "#/$defs/in/$defs/x"
    with pytest.raises(GrammarError):
        target(schema, "other.json", "#")


def test_identifiers_inside_constants_are_no_identifiers() -> None:
    schema = {"enum": [{"$id": "http://x.org/e"}], "const": {"$anchor": "c"}}
    for reference in ("http://x.org/e", "#c"):
        with pytest.raises(GrammarError):
            target(schema, reference)


def test_old_drafts_name_by_id_and_hide_siblings_of_references() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "id": "http://x.org/root.json",
        "definitions": {"a": {"id": "#foo"}, "b": {"$ref": "#/definitions/a", "id": "http://y.z/"}},
    }
    document = Document(schema)
    assert document.legacy("#")
    assert document.target("#", "#foo") == "#/definitions/a"
    with pytest.raises(GrammarError):
        document.target("#", "http://y.z/")
    latest = Document({"$schema": "https://json-schema.org/draft/2020-12/schema"})
    assert not latest.legacy("#")


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("other.json", "leads out of the schema"),
        ("#/nope", "leads nowhere"),
        ("#/enum", "leads nowhere"),
        ("#nope", "no anchor"),
        (3, "expected a string"),
    ],
)
def test_bad_references_say_what_is_wrong(reference: Any, what: str) -> None:
    with pytest.raises(GrammarError) as caught:
        target({"enum": [1]}, reference)
    assert what in str(caught.value)
    assert caught.value.where == "#/$ref"


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_document, "_MAX_NODES", 100)
    Document({"allOf": [{}] * 50})
    with pytest.raises(GrammarError, match="too large"):
        Document({"allOf": [{}] * 200})

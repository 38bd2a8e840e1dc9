"""Names that are close to a keyword are told, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from espalier.grammar.json_typos import typos
from espalier.runtime import cli


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("requird", "required"), ("propertes", "properties"), ("min_length", "minLength")),
        *(("Required", "required"), ("enums", "enum"), ("item", "items"), ("ref", "$ref")),
        *(("one_of", "oneOf"), ("definition", "definitions")),
        ("additonalProperties", "additionalProperties"),
        *(("tpye", "type"), ("enmu", "enum"), ("cosnt", "const"), ("itmes", "items")),
    ],
)
def test_a_misspelt_keyword(name: str, meant: str) -> None:
    assert typos({name: 1}) == [(f"#/{name}", meant)]


@pytest.mark.parametrize(
    "name",
    [
        *("required", "definitions", "id", "$recursiveRef", "contentEncoding", "readOnly"),
        *("example", "nullable", "propertyOrdering", "enumNames", "uniqueItemProperties"),
        *("_format", "x-order", "version", "tsType", "markdownDescription", ""),
        *("menu", "times", "fi"),
    ],
)
def test_a_name_that_is_known_or_of_somebodys_own(name: str) -> None:
    assert typos({name: 1}) == []


def test_only_where_schemas_stand() -> None:
    schema: dict[str, Any] = {
        "properties": {"requird": {"typ": "string"}, "a/b": {"items": [{"minimun": 3}, True]}},
        "const": {"requird": 1},
        "examples": [{"propertes": 1}],
        "$defs": {"x": {"anyOf": [{"patern": "a"}]}},
        "allOff": [],
    }
    assert [where for where, _ in typos(schema)] == [
        "#/$defs/x/anyOf/0/patern",
        "#/allOff",
        "#/properties/a~1b/items/0/minimun",
        "#/properties/requird/typ",
    ]
    assert typos(True) == []


def test_the_command_tells_them(capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.dumps({"type": "object", "requird": ["a"]})
    assert cli.main(["grammar", "check", "--inline", "--kind", "json_schema", schema, "{}"]) == 0
    told = "note: #/requird is no keyword, and binds nothing: did you mean required?\n"
    assert told in capsys.readouterr().out

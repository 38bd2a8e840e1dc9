"""Tools beside another grammar: an answer is one or the other, and never reads as both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from espalier.errors import NotSupportedError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary
from espalier.runtime.server.answer_pieces import joined
from espalier.runtime.server.structured import AskedGrammar
from espalier.runtime.server.tool_formats import FORMATS, LLAMA3, SPRIG, ToolFormat, ToolSpec
from espalier.runtime.server.tool_parser import ToolParser
from espalier.runtime.server.tool_readings import check_unlike_calls

TOOLS = [ToolSpec("get", {"properties": {"x": {}}}, False)]
VOCABULARY = Vocabulary([bytes([byte]) for byte in range(256)] + [b""], [256], [256])
TEXT_FORMS = [form for form in FORMATS if not form.token]
CLOSED = {"type": "object", "properties": {"name": {}, "tool": {}}, "additionalProperties": False}


def _passes(form: ToolFormat, spec: GrammarSpec) -> bool:
    try:
        check_unlike_calls(form, TOOLS, AskedGrammar("guided_json", spec))
    except NotSupportedError as error:
        return (error.where, "guided_json" in str(error)) != ("tools", True)
    return True


@pytest.mark.parametrize(
    "schema",
    [
        CLOSED,
        {"type": "array"},
        {"type": ["string", "null"]},
        False,
        {**CLOSED, "anyOf": [{"properties": {"args": {}, "parameters": {}}}, {}]},
    ],
)
def test_schemas_that_are_like_no_call(schema: Any) -> None:
    spec = GrammarSpec.json_schema(schema)
    assert all(_passes(form, spec) for form in TEXT_FORMS)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": "object"},
        {"properties": {"a": {}}},
        {**CLOSED, "properties": {k: {} for k in ("name", "parameters", "tool", "args")}},
        {**CLOSED, "patternProperties": {"s$": {}}},
        {**CLOSED, "$ref": "#/$defs/a", "$defs": {"a": True}},
        {"anyOf": [CLOSED]},
    ],
)
def test_schemas_that_may_be_like_one(schema: Any) -> None:
    """Only to forms whose calls are JSON objects."""
    spec = GrammarSpec.json_schema(schema)
    assert [form for form in TEXT_FORMS if not _passes(form, spec)] == [LLAMA3, SPRIG]


def test_other_grammars() -> None:
    for form in TEXT_FORMS:
        assert _passes(form, GrammarSpec.choices(["yes", form.open + form.head("other")]))
        assert not _passes(form, GrammarSpec.choices([form.open + form.head("get") + "!"]))
        assert not _passes(form, GrammarSpec.regex(".*"))
        assert not _passes(form, GrammarSpec.ebnf('start: "x"'))


@pytest.mark.parametrize("form", TEXT_FORMS, ids=lambda form: form.name)
def test_calls_are_read_at_the_beginning_alone(form: ToolFormat) -> None:
    tags = form.parameters
    said = '{"x": 1}' if tags is None else f"{tags.open}x{tags.middle}1{tags.close}"
    call = form.open + form.head("get") + said + form.end + form.close
    inside = json.dumps({"x": call, "y": {"tool": "get", "args": {}}}, ensure_ascii=False)
    for text, expected in [
        (call, (None, [("get", '{"x": 1}')])),
        (inside, (inside, [])),
        ("no " + call, ("no " + call, [])),
    ]:
        for place in range(len(text)):
            parser = ToolParser(form, ["get"], either=True)
            told = parser.feed(text[:place]) + parser.feed(text[place:]) + parser.finish()
            said = joined(told)
            assert (said.content, said.calls) == expected, place


def test_a_schema_that_passes_cannot_begin_as_a_call() -> None:
    """What the check shows, shown by the grammar itself."""
    compiler = GrammarCompiler(VOCABULARY)
    for form in (LLAMA3, SPRIG):
        matcher = compiler.compile(GrammarSpec.json_schema(CLOSED)).matcher()
        assert not matcher.accept_bytes(form.head("get").encode())

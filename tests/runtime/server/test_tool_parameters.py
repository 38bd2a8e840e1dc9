"""Arguments written one by one: what their grammar makes is read as JSON that the schema takes."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import jsonschema
import numpy as np
import pytest

from espalier.errors import InvalidRequestError, NotSupportedError
from espalier.grammar import GrammarCompiler, Vocabulary
from espalier.runtime.server import tool_parameters
from espalier.runtime.server.tool_formats import (
    FORMATS,
    GLM45,
    HERMES,
    QWEN3_CODER,
    ToolFormat,
    ToolSpec,
)
from espalier.runtime.server.tool_grammars import check_sizes, forced
from espalier.runtime.server.tool_parameters import ParameterReader, parameters_of

VOCABULARY = Vocabulary([bytes([byte]) for byte in range(256)] + [b""], [256], [256])
FORMS = (QWEN3_CODER, GLM45)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 6},
        "unit": {"enum": ["C", "F"]},
        "color": {"$ref": "#/$defs/color", "description": "a note"},
        "code": {"type": "string", "pattern": "^[a-c]{2}$"},
        "maybe": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "point": {"$ref": "#/$defs/point"},
    },
    "required": ["unit", "maybe"],
    "additionalProperties": False,
    "$defs": {
        "color": {"const": "red", "type": "string"},
        "point": {
            "type": "object",
            "properties": {"x": {"type": "boolean"}},
            "additionalProperties": False,
        },
    },
}
TOOL = ToolSpec("get", SCHEMA, False)


def texts(tool: ToolSpec, form: ToolFormat) -> frozenset[str]:
    assert form.parameters is not None
    return frozenset(p.name for p in parameters_of(tool, form.parameters) if p.is_text)


def read(tool: ToolSpec, form: ToolFormat, text: str) -> tuple[str, str | None]:
    assert form.parameters is not None
    return ParameterReader(form.parameters, texts(tool, form)).feed(text)


def test_which_stand_as_plain_text() -> None:
    assert texts(TOOL, QWEN3_CODER) == {"city", "unit", "color"}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_whatever_the_grammar_makes_is_valid(form: ToolFormat) -> None:
    """Random walks through the grammar, each to an end."""
    grammar = GrammarCompiler(VOCABULARY).compile(forced(form, [TOOL], parallel=False))
    rng = np.random.default_rng(1)
    mask = np.empty(VOCABULARY.words, dtype=np.uint32)
    likely = np.frombuffer(b'apbCF1" <>/\n\\{}', dtype=np.uint8)
    names = set()
    for _ in range(40):
        matcher, text = grammar.matcher(), bytearray()
        while not matcher.must_end:
            matcher.fill_mask(mask, max(1, 400 - len(text)))
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
            allowed = np.flatnonzero(bits[:256])
            few = np.intersect1d(allowed, likely)
            chosen = int(rng.choice(few if len(few) and rng.random() < 0.5 else allowed))
            assert matcher.accept(chosen)
            text.append(chosen)
        head = form.head("get")
        said, rest = read(TOOL, form, text.decode().removeprefix(head))
        assert rest == form.end
        jsonschema.validate(json.loads(said), SCHEMA)
        names |= set(json.loads(said))
    assert names == set(SCHEMA["properties"])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_split_reads_the_same(form: ToolFormat) -> None:
    tags = form.parameters
    assert tags is not None
    mark = tags.close.rstrip()
    values = {"city": '"</', "code": json.dumps(mark), "count": "1", "point": '{"x": [1, "}"]}'}
    text = "".join(tags.open + k + tags.middle + v + tags.close for k, v in values.items())
    text += form.end
    whole, rest = read(TOOL, form, text)
    assert json.loads(whole) == {"city": '"</', "code": mark, "count": 1, "point": {"x": [1, "}"]}}
    assert rest == form.end
    for place in range(1, len(text)):
        reader = ParameterReader(tags, texts(TOOL, form))
        first, rest = reader.feed(text[:place])
        assert whole.startswith(first)
        if rest is None:
            second, rest = reader.feed(text[place:])
            assert first + second == whole
        else:
            assert first == whole
    told = ""
    reader = ParameterReader(tags, texts(TOOL, form))
    for character in text:
        piece, rest = reader.feed(character)
        told += piece
        if rest is not None:
            break
    assert told == whole


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"properties": {}, "minProperties": 1},
        {"oneOf": [{"required": ["a"]}]},
        {"properties": {"a>\nb": {}}},
    ],
)
def test_what_cannot_be_written_so_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(NotSupportedError) as caught:
        forced(QWEN3_CODER, [ToolSpec("get", schema, False)], parallel=False)
    assert caught.value.where == "tools"


def test_lenient_drops_what_cannot_be_written() -> None:
    tool = ToolSpec("get", {"properties": {"a": {}}, "minProperties": 1}, True)
    forced(QWEN3_CODER, [tool], parallel=False)


def _tool(size: int, count: int = 1) -> ToolSpec:
    properties = {f"p{n}": {"type": "integer", "title": '"' * size} for n in range(count)}
    return ToolSpec("get", {"type": "object", "properties": properties}, False)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_schemas_are_counted_as_they_were_sent(form: ToolFormat) -> None:
    """Neither how often a grammar names them nor how it is written down makes them longer."""
    sent = len(json.dumps(_tool(100).schema, ensure_ascii=False))
    check_sizes(form, [_tool(100)] * 4, 4 * sent)
    with pytest.raises(InvalidRequestError, match="at most 800 characters") as caught:
        check_sizes(form, [_tool(100)] * 9, 800)
    assert caught.value.where == "tools"


REPEATED: dict[str, dict[str, Any]] = {
    "definitions": {
        "properties": {f"p{n}": {"$ref": "#/$defs/a"} for n in range(10_000)},
        "$defs": {"a": {"type": "integer", "title": "x" * 500_000}},
    },
    "what others may be": {
        "required": [f"p{n}" for n in range(10_000)],
        "additionalProperties": {"enum": ["x" * 500_000]},
    },
}


@pytest.mark.parametrize("name", REPEATED)
def test_what_each_argument_takes_along_counts_with_it(name: str) -> None:
    """Ten thousand times half a megabyte would be written down."""
    tool = ToolSpec("get", {"type": "object", **REPEATED[name]}, False)
    check_sizes(HERMES, [tool], 1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError, match="schemas of at most"):
            check_sizes(QWEN3_CODER, [tool], 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", REPEATED)
def test_no_more_arguments_are_made_than_are_counted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    one = tool_parameters._parameter
    monkeypatch.setattr(
        tool_parameters, "_parameter", lambda name, *rest: made.append(name) or one(name, *rest)
    )
    tool = ToolSpec("get", {"type": "object", **REPEATED[name]}, False)
    with pytest.raises(InvalidRequestError, match="schemas of at most"):
        check_sizes(QWEN3_CODER, [tool], 1_000_000)
    assert len(made) <= 3


def test_definitions_go_with_those_that_refer_to_them() -> None:
    assert QWEN3_CODER.parameters is not None
    made = {p.name: p.schema for p in parameters_of(TOOL, QWEN3_CODER.parameters)}
    assert {name for name, schema in made.items() if "$defs" in schema} == {"color", "point"}


NO_SCHEMAS: list[tuple[dict[str, Any], str]] = [
    ({"required": 5}, "required"),
    ({"required": {"a": 1}}, "required"),
    ({"required": [1]}, "required"),
    ({"required": [{}]}, "required"),
    ({"properties": ["a"]}, "properties"),
    ({"properties": 5}, "properties"),
    ({"required": [f"p{n}" for n in range(10_001)]}, "10,001"),
    ({"properties": {f"p{n}": {} for n in range(10_001)}}, "10,001"),
]


@pytest.mark.parametrize(("schema", "named"), NO_SCHEMAS)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_what_is_no_schema_or_too_long_is_refused_by_name(
    form: ToolFormat, schema: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidRequestError, match=named) as caught:
        check_sizes(form, [ToolSpec("get", schema, False)], 1_000_000)
    assert "'get'" in str(caught.value)

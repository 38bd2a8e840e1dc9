"""Structural tags in the form of a `format`: what they take, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from espalier.grammar import GrammarCompiler, Vocabulary
from espalier.runtime.server.structured import (
    ResponseFormat,
    StructuredFields,
    grammar_of,
)
from tests.runtime.serving import InProcess, user

VOCABULARY = Vocabulary([bytes([byte]) for byte in range(256)] + [b""], [256], [256])
BOOLEAN = {"type": "json_schema", "json_schema": {"type": "boolean"}}
TAG = {"type": "tag", "begin": "<a>", "content": BOOLEAN, "end": "</a>"}
TEXT_TAG = {"type": "tag", "begin": "<b>", "content": {"type": "any_text"}, "end": ["</b>", "."]}


def text(value: str) -> dict[str, Any]:
    return {"type": "const_string", "value": value}


CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (text("yes"), ["yes"], ["", "no", "yes!"]),
    (BOOLEAN, ["true"], ["1"]),
    ({"type": "regex", "pattern": "a+"}, ["aa"], ["ab"]),
    ({"type": "grammar", "grammar": 'root ::= "x" | "(" root ")"'}, ["((x))"], ["(x"]),
    ({"type": "any_text"}, ["", "any\n"], []),
    ({"type": "sequence", "elements": [text("a"), BOOLEAN]}, ["atrue"], ["a", "true"]),
    ({"type": "or", "elements": [text("a"), BOOLEAN]}, ["a", "false"], ["afalse"]),
    (TAG, ["<a>true</a>"], ["<a>1</a>", "<a>true"]),
    (TEXT_TAG, ["<b>x</b>", "<b>.", "<b></b>"], ["<b>x", "<b>x</b>y", "<b>.</b>"]),
    (
        {"type": "triggered_tags", "triggers": ["<a"], "tags": [TAG]},
        ["", "free <b", "x<a>true</a>y<a>false</a>"],
        ["x<a", "<a>1</a>"],
    ),
    (
        {
            "type": "triggered_tags",
            "triggers": ["<b>"],
            "tags": [TEXT_TAG],
            "at_least_one": True,
            "stop_after_first": True,
        },
        ["x<b>y</b>", "<b>y."],
        ["", "x<b>y</b>z", "x<b>y"],
    ),
    (
        {"type": "tags_with_separator", "tags": [TAG], "separator": ", "},
        ["", "<a>true</a>", "<a>true</a>, <a>false</a>"],
        ["<a>true</a>, ", "<a>true</a><a>true</a>"],
    ),
    (
        {
            "type": "tags_with_separator",
            "tags": [TAG],
            "separator": ", ",
            "at_least_one": True,
            "stop_after_first": True,
        },
        ["<a>true</a>"],
        ["", "<a>true</a>, <a>false</a>"],
    ),
]


@pytest.mark.parametrize(("asked", "good", "bad"), CASES)
def test_what_it_takes(asked: dict[str, Any], good: list[str], bad: list[str]) -> None:
    said = {"type": "structural_tag", "format": asked}
    spellings = [
        StructuredFields(response_format=ResponseFormat.model_validate(said)),
        StructuredFields(structural_tag=json.dumps(said)),
        StructuredFields.model_validate(
            {"structured_outputs": {"structural_tag": json.dumps(said)}}
        ),
    ]
    specs = {grammar.spec for s in spellings if (grammar := grammar_of(s, 10_000)) is not None}
    [spec] = specs
    compiled = GrammarCompiler(VOCABULARY).compile(spec)
    for text in [*good, *bad]:
        matcher = compiled.matcher()
        taken = matcher.accept_bytes(text.encode()) and matcher.can_end
        assert taken == (text in good), text


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"type": "qwen_xml_parameter", "json_schema": {}}, "response_format.format"),
        ({"type": "any_text", "excludes": ["x"]}, "excludes"),
        ({"type": "or", "elements": []}, "response_format.format"),
        ({"type": "sequence"}, "response_format.format"),
        ({**BOOLEAN, "style": "xml"}, "style"),
    ],
)
def test_what_is_wrong_is_named(sprig: InProcess, wrong: dict[str, Any], param: str) -> None:
    asked = {"type": "structural_tag", "format": wrong}
    error = sprig.refused("/v1/chat/completions", messages=[user("x")], response_format=asked)
    assert (error["param"] or "").startswith(param), error


def test_over_http(sprig: InProcess) -> None:
    tags = {"type": "structural_tag", "format": TAG}
    for body in ({"response_format": tags}, {"structural_tag": json.dumps(tags)}):
        answer = sprig.chat("Hello!", **body)
        assert answer["choices"][0]["message"]["content"] in ("<a>true</a>", "<a>false</a>")
    both = {"format": TAG, "structures": [], "triggers": []}
    error = sprig.refused(
        "/v1/completions", prompt="x", response_format={"type": "structural_tag", **both}
    )
    assert error["param"] == "response_format.format"
    params = {"structural_tag": json.dumps(tags)}
    assert sprig.ok("/generate", text="x", sampling_params=params)["text"].startswith("<a>")


@pytest.mark.parametrize("depth", [50, 5000])
def test_a_format_nested_too_deeply(sprig: InProcess, depth: int) -> None:
    """Refused in bounded time, however it is spelled."""
    nested = '{"type": "sequence", "elements": [' * depth + json.dumps(TAG) + "]}" * depth
    tags = '{"type": "structural_tag", "format": ' + nested + "}"
    for path, more in (("/v1/completions", {"prompt": "x"}), ("/generate", {"text": "x"})):
        field: dict[str, Any] = {"structural_tag": tags}
        body = more | (field if path != "/generate" else {"sampling_params": field})
        response = sprig.post(path, body)
        assert response.status_code == (200 if depth == 50 else 400), response.text[:200]


@pytest.mark.parametrize("kind", ["triggered_tags", "tags_with_separator", "tag"])
def test_a_format_is_as_long_as_what_it_says(kind: str) -> None:
    """A level costs what it says, however deep it stands: neither quotes that are quoted again, nor
    tags that are written twice."""

    def size(depth: int) -> int:
        nested: dict[str, Any] = {"type": "regex", "pattern": '"[a-z]+"'}
        for _ in range(depth):
            tag = {"type": "tag", "begin": "<a>", "content": nested, "end": "</a>"}
            nested = {
                "tag": tag,
                "triggered_tags": {"type": kind, "triggers": ["<a>"], "tags": [tag]},
                "tags_with_separator": {"type": kind, "separator": ",", "tags": [tag]},
            }[kind]
        said = {"type": "structural_tag", "format": nested}
        found = grammar_of(StructuredFields(structural_tag=json.dumps(said)), 1_000_000)
        assert found is not None
        return found.spec.size

    level = size(2) - size(1)
    assert size(12) - size(2) <= 11 * level


def test_tags_inside_of_tags() -> None:
    inner = {"type": "tag", "begin": '"', "content": BOOLEAN, "end": '"'}
    many = {"type": "tags_with_separator", "tags": [inner], "separator": ","}
    outer = {"type": "tag", "begin": "<a>", "content": many, "end": "</a>"}
    asked = {"type": "triggered_tags", "triggers": ["<a>"], "tags": [outer]}
    said = json.dumps({"type": "structural_tag", "format": asked})
    found = grammar_of(StructuredFields(structural_tag=said), 10_000)
    assert found is not None
    compiled = GrammarCompiler(VOCABULARY).compile(found.spec)
    for text in ("free", 'x<a>"true"</a>y', '<a></a><a>"true","false"</a>'):
        assert compiled.explain(text).accepted, text
    for text in ('<a>"true"', '<a>"true""false"</a>', "<a>true</a>"):
        assert not compiled.explain(text).accepted, text

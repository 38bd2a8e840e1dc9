"""What is wrong with a grammar is told by where it stands in the request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.errors import EspalierError, GrammarError, NotSupportedError
from espalier.grammar import GrammarCompiler, GrammarSpec
from espalier.runtime.server.api_chat import ChatRequest
from espalier.runtime.server.settings import Limits
from espalier.runtime.server.structured import AskedGrammar, StructuredFields, grammar_of
from espalier.runtime.server.tool_formats import FORMATS, SPRIG, ToolFormat
from espalier.runtime.server.tool_plan import plan_tools
from tests.runtime.server.test_reasoning_parser import VOCABULARY, plan
from tests.runtime.serving import InProcess, user

WRONG = {"type": "object", "properties": {"a/b": {"type": "nothing"}}}
AT = "#/properties/a~1b/type"
TAG = {"type": "tag", "begin": "<a>", "content": {"type": "json_schema", "json_schema": WRONG},
       "end": "</a>"}  # fmt: skip
GOOD = {"type": "const_string", "value": "x"}


def triggered(**more: Any) -> dict[str, Any]:
    return {"type": "triggered_tags", "triggers": ["<a>"], "tags": [TAG], **more}


def separated(tag: Any) -> dict[str, Any]:
    return {"type": "tags_with_separator", "tags": [{**TAG, "content": GOOD}, tag],
            "separator": ","}  # fmt: skip


def sequence(*elements: Any) -> dict[str, Any]:
    return {"type": "sequence", "elements": [*elements]}


STRUCTURES = [
    {"begin": "<a>", "schema": {}, "end": ""},
    {"begin": "<b>", "schema": WRONG, "end": ""},
]
FORMATTED: list[tuple[dict[str, Any], str]] = [
    ({"format": TAG}, ".format.content.json_schema" + AT),
    ({"format": sequence(GOOD, {"type": "or", "elements": [GOOD, GOOD, TAG]})},
     ".format.elements[1].elements[2].content.json_schema" + AT),
    ({"format": triggered()}, ".format.tags[0].content.json_schema" + AT),
    ({"format": sequence(GOOD, separated(TAG))},
     ".format.elements[1].tags[1].content.json_schema" + AT),
    ({"format": sequence(separated(TAG), {"type": "regex", "pattern": "a("})},
     ".format.elements[0].tags[1].content.json_schema" + AT),
    ({"format": sequence(GOOD, {"type": "regex", "pattern": "a("})},
     ".format.elements[1].pattern, column 2"),
    ({"format": sequence(GOOD, {"type": "grammar", "grammar": "root ::= ("})},
     ".format.elements[1].grammar, line"),
    ({"format": sequence(GOOD, triggered(triggers=["<b>"]))}, ".format.elements[1].triggers[0]"),
    ({"format": sequence(GOOD, {"type": "or", "elements": []})}, ".format.elements[1].elements"),
    ({"structures": STRUCTURES, "triggers": ["<"]}, ".structures[1].schema" + AT),
    ({"structures": STRUCTURES, "triggers": ["<b"]}, ".structures[0].begin"),
    ({"structures": STRUCTURES, "triggers": ["<", "<"]}, ".triggers[1]"),
]  # fmt: skip
SAID: list[tuple[dict[str, Any], str]] = [
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": WRONG}}},
     "response_format.json_schema.schema" + AT),
    ({"response_format": {"type": "json_object", "schema": WRONG}}, "response_format.schema" + AT),
    ({"structured_outputs": {"json": WRONG}}, "structured_outputs.json" + AT),
    ({"structured_outputs": {"regex": "a("}}, "structured_outputs.regex, column 2"),
    ({"structured_outputs": {"grammar": "root ::= ("}}, "structured_outputs.grammar, line"),
    ({"guided_json": WRONG}, "guided_json" + AT),
    ({"json_schema": json.dumps(WRONG)}, "json_schema" + AT),
    ({"regex": "a("}, "regex, column 2"),
    ({"choice": []}, "choice"),
    ({"guided_choice": []}, "guided_choice"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
]  # fmt: skip
for _body, _at in FORMATTED:
    _tag = {"type": "structural_tag", **_body}
    SAID += [
        ({"response_format": _tag}, "response_format" + _at),
        ({"structural_tag": json.dumps(_tag)}, "structural_tag" + _at),
    ]
SAID.append(({"structured_outputs": {"structural_tag": json.dumps(_tag)}},
             "structured_outputs.structural_tag" + _at))  # fmt: skip


def blamed(asked: AskedGrammar) -> tuple[str, str]:
    """The field that is blamed for a grammar, and the place that is named."""
    with pytest.raises(GrammarError) as caught:
        GrammarCompiler(VOCABULARY).compile(asked.spec)
    field = asked.blamed(caught.value)
    return field, caught.value.where or ""


@pytest.mark.parametrize(("body", "at"), SAID, ids=lambda value: str(value)[:60])
def test_a_grammar(sprig: InProcess, body: dict[str, Any], at: str) -> None:
    error = sprig.refused("/v1/chat/completions", messages=[user("x")], **body)
    assert f"(at {at}" in error["message"]
    assert error["param"] == at.partition("#")[0].partition(", ")[0]
    params = {"sampling_params": body, "text": "x"}
    assert sprig.refused("/generate", **params)["message"] == error["message"]
    assert sprig.left_over() == (0, 0, 0)


@pytest.mark.parametrize("opened", [False, True])
def test_behind_reasoning(opened: bool) -> None:
    for body, at in SAID:
        try:
            asked = grammar_of(StructuredFields.model_validate(body), 100_000)
        except EspalierError:
            continue  # before anything is compiled
        assert asked is not None
        told = blamed(plan(opened=opened, exact=True).grammar(asked))
        assert told[1].startswith(at)


SPEC = {"type": "object", "properties": {"n": {"type": "integer"}}}
REFERS = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "p": {"anyOf": [{"$ref": "#/$defs/P"}]}},
    "$defs": {"P": {"type": "object", "properties": {"q": {"type": "nothing"}}}},
}
BY_REFERENCE = {"$ref": "#/$defs/A", "$defs": {"A": WRONG}}
UNDECLARED = {"type": "object", "required": ["x"], "additionalProperties": {"type": "nothing"}}
SCHEMAS = {
    "own": (WRONG, AT),
    "definitions": (REFERS, "#/$defs/P/properties/q/type"),
    "reference": (BY_REFERENCE, "#/$defs/A/properties/a~1b/type"),
    "undeclared": (UNDECLARED, "#/additionalProperties/type"),
}


def _asked(form: ToolFormat, schemas: Sequence[Any], **more: Any) -> ChatRequest:
    tools = [
        {"type": "function", "function": {"name": f"t{number}", "parameters": schema}}
        for number, schema in enumerate(schemas)
    ]
    return ChatRequest.model_validate({"messages": [user("x")], "tools": tools, **more})


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_tools_parameters(form: ToolFormat, name: str) -> None:
    """Whether calls must come, may, or are one of two things; and behind reasoning."""
    schema, at = SCHEMAS[name]
    where = "tools[2].function.parameters" + at
    dialect: Any = SimpleNamespace(tool_form=form)
    if form.parameters is not None and name == "reference":
        with pytest.raises(NotSupportedError) as caught:
            plan_tools(_asked(form, [SPEC, {}, schema]), dialect, Limits())
        assert caught.value.where == "tools[2].function.parameters"
        return
    answer = AskedGrammar("guided_json", GrammarSpec.json_schema({"type": "string"}))
    for more, other in (
        ({}, None),
        ({"tool_choice": "required"}, None),
        ({"tool_choice": "required", "parallel_tool_calls": False}, None),
        ({"tool_choice": {"type": "function", "function": {"name": "t2"}}}, None),
        ({}, answer),
    ):
        made = plan_tools(_asked(form, [SPEC, {}, schema], **more), dialect, Limits(), other)
        assert made is not None
        for grammar in (made.grammar, plan(opened=False, exact=True).grammar(made.grammar)):
            if not form.arguments_token:
                assert blamed(grammar) == ("tools[2].function.parameters", where)


def test_the_other_grammar_beside_tools() -> None:
    """It is blamed as it would be alone."""
    dialect: Any = SimpleNamespace(tool_form=SPRIG)
    wrong = {"type": "string", "minLength": -1}
    for body, field in (({"guided_json": wrong}, "guided_json"), ({"response_format": {
        "type": "json_schema", "json_schema": {"schema": wrong}}},
        "response_format.json_schema.schema")):  # fmt: skip
        answer = grammar_of(StructuredFields.model_validate(body), 100_000)
        made = plan_tools(_asked(SPRIG, [SPEC]), dialect, Limits(), answer)
        assert made is not None
        assert blamed(made.grammar) == (field, field + "#/minLength")


def test_over_http(sprig: InProcess) -> None:
    tools = [
        {"type": "function", "function": {"name": f"t{number}", "parameters": schema}}
        for number, schema in enumerate([SPEC, WRONG])
    ]
    for more in ({}, {"tool_choice": "required"}, {"stream": True}):
        body = {"messages": [user("x")], "tools": tools, **more}
        error = sprig.refused("/v1/chat/completions", **body)
        assert error["code"] == "invalid_grammar"
        assert error["param"] == "tools[1].function.parameters"
        assert f"(at tools[1].function.parameters{AT})" in error["message"]


def test_a_check_names_the_place_too(sprig: InProcess) -> None:
    told = sprig.ok("/grammar/check", response_format={"type": "json_object", "schema": WRONG})
    assert told["error"]["where"] == "response_format.schema" + AT

"""Tool calls out of text: the same whatever the pieces, in each form; grammars say what is read."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from espalier.grammar import GrammarCompiler, Vocabulary
from espalier.runtime.server.answer_pieces import Content, joined
from espalier.runtime.server.tool_formats import (
    DEEPSEEK_V3,
    FORMATS,
    HERMES,
    SPRIG,
    ToolFormat,
    ToolSpec,
)
from espalier.runtime.server.tool_grammars import forced, optional
from espalier.runtime.server.tool_parser import ToolParser

WEATHER = {"properties": {"city": {"type": "string"}, "days": {}}, "required": ["city"]}
TOOLS = [ToolSpec("get_weather", WEATHER, False), ToolSpec("get", None, False)]
TEXTS = {"get_weather": frozenset({"city"})}
IN_TEXT = [form for form in FORMATS if not form.arguments_token]
NAMES = [tool.name for tool in TOOLS]
VOCABULARY = Vocabulary([bytes([byte]) for byte in range(256)] + [b""], [256], [256])


def written(form: ToolFormat, calls: list[tuple[str, str]]) -> str:
    """A group of calls, as the form writes it."""
    texts = [form.head(name) + _arguments(form, said) + form.end for name, said in calls]
    return form.open + form.between.join(texts) + form.close


def _arguments(form: ToolFormat, said: str) -> str:
    tags = form.parameters
    if tags is None:
        return said
    return "".join(
        tags.open
        + name
        + tags.middle
        + (value if name == "city" else json.dumps(value, ensure_ascii=False))
        + tags.close
        for name, value in json.loads(said).items()
    )


def read(form: ToolFormat, pieces: list[str]) -> Any:
    parser = ToolParser(form, NAMES, in_calls=form.token, texts=TEXTS)
    told = [part for piece in pieces for part in parser.feed(piece)]
    said = joined(told + parser.finish())
    return said.content, said.calls


def sampled(rng: random.Random, form: ToolFormat) -> list[tuple[str, str]]:
    nasty = [
        '"',
        "\\",
        "}",
        "{",
        "]",
        "</tool_call>",
        "é🙂",
        "\n",
        '{"name": "',
        "<tool_call>",
        " ",
        "\n</parameter",
        "</arg_value",
        "</arg_value>\n",
        "</parameter>\n",
    ]
    calls = []
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.3:
            calls.append(("get", "{}"))
            continue
        city, day = ("".join(rng.choices(nasty, k=rng.randint(0, 5))) for _ in range(2))
        if form.parameters is not None and form.parameters.close.rstrip() in city:
            city = ""
        said: dict[str, Any] = {"city": city}
        if rng.random() < 0.5:
            said["days"] = rng.choice([day, [day, {day: 1}], -1.5e3, None])
        ascii_ = form.parameters is None and rng.random() < 0.5
        calls.append(("get_weather", json.dumps(said, ensure_ascii=ascii_)))
    return calls


@pytest.mark.parametrize("form", IN_TEXT, ids=lambda form: form.name)
def test_every_split_reads_the_same(form: ToolFormat) -> None:
    """200 sampled answers, at every split point, and byte by byte."""
    rng = random.Random(form.name)
    for number in range(200):
        calls = sampled(rng, form)
        before = "" if form.token else rng.choice(["", "I look.\n", "<tool", '{"', "a < b", "\n"])
        text = before + written(form, calls)
        whole = read(form, [text])
        assert whole == (before if before.strip() else None, calls), number
        for place in range(1, len(text)):
            assert read(form, [text[:place], text[place:]]) == whole, (number, place)
        assert read(form, list(text)) == whole


@pytest.mark.parametrize("form", IN_TEXT, ids=lambda form: form.name)
@pytest.mark.parametrize("parallel", [False, True])
def test_the_grammar_takes_what_is_written(form: ToolFormat, parallel: bool) -> None:
    compiler = GrammarCompiler(VOCABULARY)
    one = [("get_weather", '{"city": "Köln"}')]
    two = [*one, ("get", "{}")]
    must = compiler.compile(forced(form, TOOLS, parallel=parallel))

    def takes(compiled: Any, text: str) -> bool:
        matcher = compiled.matcher()
        return bool(matcher.accept_bytes(text.encode()) and matcher.can_end)

    assert takes(must, written(form, one))
    assert takes(must, written(form, two)) == parallel
    for wrong in ("", "free text", written(form, [("get_weather", '{"town": 1}')])):
        assert not takes(must, wrong)
    assert not takes(must, written(form, [("unknown", "{}")]))
    if form.token:
        return
    may = compiler.compile(optional(form, TOOLS, parallel=parallel))
    assert takes(may, "free text { <")
    assert takes(may, "I look.\n" + written(form, one))
    assert takes(may, written(form, two)) == parallel
    assert not takes(may, written(form, [("get_weather", '{"town": 1}')]))
    assert not takes(may, "I look. " + form.trigger + "x")


@pytest.mark.parametrize("form", IN_TEXT, ids=lambda form: form.name)
def test_a_text_that_is_cut_loses_nothing_that_was_certain(form: ToolFormat) -> None:
    text = written(form, [("get_weather", '{"city": "Oslo"}')])
    arguments_begin = len(form.open + form.head("get_weather"))
    for place in range(len(text)):
        content, calls = read(form, [text[:place]])
        if place < arguments_begin:
            assert calls == []
            assert (content or "") == ("" if not text[:place].strip() else text[:place])
        else:
            [(name, arguments)] = calls
            assert name == "get_weather"
            assert '{"city": "Oslo"}'.startswith(arguments)
            assert content is None


def test_what_is_no_call_is_content() -> None:
    for text in ["<tool_call>\nnothing", "a <tool_call", '<tool_call>\n{"name": "other"', "  "]:
        assert read(HERMES, [text]) == (text, [])
        for place in range(len(text)):
            assert read(HERMES, [text[:place], text[place:]]) == (text, [])
    assert read(DEEPSEEK_V3, ["x<｜tool▁calls▁begin｜>y"])[0] == "x<｜tool▁calls▁begin｜>y"


def test_only_what_may_begin_a_call_is_held_back() -> None:
    parser = ToolParser(SPRIG, NAMES)
    assert parser.feed("Let me see") == [Content("Let me see")]
    assert parser.feed(' {"too') == [Content(" ")]
    assert parser.feed("l") == []
    assert parser.feed("x") == [Content('{"toolx')]


def test_between_calls_is_no_content() -> None:
    call = written(HERMES, [("get", "{}")])
    for gap, end in itertools.product(["", "\n", " \n\n", "; "], ["", "\n"]):
        assert read(HERMES, [call + gap + call + end]) == (None, [("get", "{}")] * 2)
    assert read(HERMES, [call + " and " + call]) == (" and ", [("get", "{}")] * 2)

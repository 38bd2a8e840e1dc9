"""Structural tags: free text stays free, and a trigger is followed by its tag or not written."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary, parse

COMPILER = GrammarCompiler(Vocabulary([bytes([b]) for b in range(256)] + [b""], [256], [256]))
WEATHER = {
    "begin": "<call=weather>",
    "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "end": "</call>",
}
CLOCK = {"begin": "<call=clock>", "content": GrammarSpec.regex("[0-9]+"), "end": "</call>"}


def _takes(text: str, *tags: dict[str, Any], **options: bool) -> bool:
    spec = GrammarSpec.structural_tag(tags or (WEATHER, CLOCK), ["<call="], **options)
    return COMPILER.compile(spec).explain(text).accepted


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", True),
        ("Just text, with < and <cal and {}.", True),
        ('<call=weather>{"city": "Oslo"}</call>', True),
        ('Well: <call=weather>{"city": "Oslo"}</call> and <call=clock>12</call>.', True),
        ("<call=clock>12</call><call=clock>13</call>", True),
        ("<<call=clock>1</call>", True),
        ("<call=other>1</call>", False),
        ("<call=clock>x</call>", False),
        ("<call=clock>1", False),
        ("text <call=", False),
        ('<call=weather>{"city": 1}</call>', False),
    ],
)
def test_texts(text: str, right: bool) -> None:
    assert _takes(text) == right


def test_all_short_texts_against_re() -> None:
    """A trigger that overlaps itself; the first place where it stands is where it counts."""
    spec = GrammarSpec.structural_tag(
        [{"begin": "aab", "content": GrammarSpec.regex("b?"), "end": "a"}], ["aa"]
    )
    grammar = COMPILER.compile(spec)
    free = r"(?:(?!aa)[\s\S])*"
    pattern = re.compile(rf"(?:{free}aab(?:b?)a)*{free}")
    for length in range(9):
        for letters in product("ab", repeat=length):
            text = "".join(letters)
            assert grammar.explain(text).accepted == bool(pattern.fullmatch(text)), text


def test_at_least_one_and_stop_after_first() -> None:
    call = "<call=clock>1</call>"
    assert not _takes("text", at_least_one=True)
    assert _takes("text" + call, at_least_one=True)
    assert _takes("text" + call, stop_after_first=True)
    assert not _takes(call + "text", stop_after_first=True)
    assert _takes("text", stop_after_first=True)
    assert not _takes("text", stop_after_first=True, at_least_one=True)
    assert _takes(call, stop_after_first=True, at_least_one=True)


@pytest.mark.parametrize(
    ("tags", "triggers", "where"),
    [
        ([], ["<"], "structural_tag"),
        ([CLOCK], [], "structural_tag"),
        ([CLOCK], [""], "triggers[0]"),
        ([CLOCK], ["<call", "<call="], "triggers[1]"),
        ([CLOCK], ["<call", "<tool"], "triggers[1]"),
        ([CLOCK, {"begin": "x", "schema": True, "end": ""}], ["<call"], "tags[1].begin"),
        ([{"begin": "<"}], ["<"], "tags[0]"),
        ([{"begin": "<", "end": "", "shema": {}}], ["<"], "tags[0]"),
        ([{"begin": "<", "schema": {}, "end": 1}], ["<"], "tags[0].end"),
        ([{"begin": "<", "end": ""}], ["<"], "tags[0]"),
        ([{**CLOCK, "schema": {}}], ["<"], "tags[0]"),
        ([{**WEATHER, "type": "x"}], ["<"], "tags[0]"),
    ],
)
def test_what_cannot_be_is_named(tags: Any, triggers: Any, where: str) -> None:
    with pytest.raises(GrammarError) as caught:
        GrammarSpec.structural_tag(tags, triggers)
    assert caught.value.where == where


def test_what_is_dropped_and_wrong_names_its_tag() -> None:
    loose = GrammarSpec.json_schema(
        {"properties": {"a": {"uniqueItems": True}, "b": {"format": "int32"}}}, lenient=True
    )
    tags = [CLOCK, {"begin": "<call=a>", "content": loose, "end": "</call>"}]
    grammar = parse(GrammarSpec.structural_tag(tags, ["<call="]))
    assert grammar.dropped == ("tags[1]#/properties/a/uniqueItems",)
    assert grammar.annotated == ("tags[1]#/properties/b/format",)
    wrong = [CLOCK, {"begin": "<call=a>", "schema": {"type": "strin"}, "end": "</call>"}]
    with pytest.raises(GrammarError) as caught:
        parse(GrammarSpec.structural_tag(wrong, ["<call="]))
    assert caught.value.where == "tags[1]#/type"


def test_a_source_that_is_none() -> None:
    with pytest.raises(GrammarError, match="no structural tags"):
        parse(GrammarSpec(kind="structural_tag", source='{"tags": 1}'))

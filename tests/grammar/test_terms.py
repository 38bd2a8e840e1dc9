"""Grammars put together in Python: the same texts as the regex or schema they say."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary, parse, terms as t

COMPILER = GrammarCompiler(Vocabulary([bytes([b]) for b in range(256)] + [b""], [256], [256]))


_REPEAT = t.grammar(t.repeat("a", 2, 3)).source.replace('"low":2', '"low":-2')


def _takes(term: t.Term | str, text: str, **rules: Any) -> bool:
    return COMPILER.compile(t.grammar(term, **rules)).explain(text).accepted


@pytest.mark.parametrize(
    ("term", "pattern"),
    [
        (t.text("ab") + t.optional("b"), "abb?"),
        (t.choice("a", t.regex("b+")) + "a", "(a|b+)a"),
        (t.repeat(t.sequence("a", t.optional("b")), 1, 2), "(ab?){1,2}"),
        ("a" + (t.regex("b{2}") | "a" | t.sequence()), "a(bb|a|)"),
        (t.repeat("ab"), "(ab)*"),
        ("a" | t.text("b"), "a|b"),
    ],
)
def test_terms_and_the_regex_they_say(term: t.Term, pattern: str) -> None:
    for length in range(6):
        for letters in product("ab", repeat=length):
            text = "".join(letters)
            assert _takes(term, text) == (re.fullmatch(pattern, text) is not None), text


def test_rules_may_call_themselves() -> None:
    expr = t.choice(t.regex("[0-9]"), t.sequence("(", t.ref("expr"), "+", t.ref("expr"), ")"))
    for text, right in (("1", True), ("(1+(2+3))", True), ("(1+2", False), ("1+2", False)):
        assert _takes(t.ref("expr"), text, expr=expr) == right


def test_json_inside_text() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}
    term = "<call>" + t.json_of(schema) + "</call>" + t.optional(t.json_of(list[int]))
    for text, right in (
        ('<call>{"a": {"a": {}}}</call>', True),
        ("<call>{}</call>[1, 2]", True),
        ('<call>{"b": 1}</call>', False),
        ("<call>{}</call>{}", False),
    ):
        assert _takes(term, text) == right


def test_a_spec_crosses_borders_as_it_is() -> None:
    spec = t.grammar(t.json_of({"type": "integer"}) + t.ref("x"), x="!")
    assert json.loads(spec.source)["rules"]
    assert parse(GrammarSpec(kind="terms", source=spec.source)) == parse(spec)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: t.choice(), "choice"),
        (lambda: t.sequence("a", 1), "sequence"),  # type: ignore[arg-type]
        (lambda: t.text(1), "text"),  # type: ignore[arg-type]
        (lambda: t.regex(b"a"), "regex"),  # type: ignore[arg-type]
        (lambda: t.repeat("a", 3, 2), "repeat"),
        (lambda: t.repeat("a", 0, 2**70), "repeat"),
        (lambda: t.repeat("a", "x"), "repeat"),  # type: ignore[arg-type]
        (lambda: t.ref(""), "ref"),
        (lambda: parse(t.grammar(t.ref("x"), y="a")), "ref('x')"),
        (lambda: parse(t.grammar(t.regex("("))), "column 1"),
        (lambda: parse(t.grammar(t.regex("a(?=b)"))), "column 2"),
        (lambda: parse(GrammarSpec(kind="terms", source="{}")), "terms"),
        (lambda: parse(GrammarSpec(kind="terms", source=_REPEAT)), "repeat"),
    ],
)
def test_what_cannot_be_is_named(make: Any, where: str) -> None:
    with pytest.raises(GrammarError) as caught:
        make()
    assert caught.value.where == where


def test_what_is_dropped_is_told() -> None:
    loose = t.json_of({"uniqueItems": True}, lenient=True)
    term = t.json_of({"format": "int32"}) + loose + loose
    grammar = parse(t.grammar(t.ref("x"), x=term))
    assert grammar.dropped == ("json_of[1]#/uniqueItems",)
    assert grammar.annotated == ("json_of[0]#/format",)


def test_nesting_is_bounded() -> None:
    term: t.Term | str = "a"
    for _ in range(300):
        term = t.optional(t.sequence(term, "b"))
    with pytest.raises(GrammarError, match=r"nested|no terms"):
        parse(t.grammar(term))

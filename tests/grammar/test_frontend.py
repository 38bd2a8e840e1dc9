"""Specs to IR: dispatch, limits, and hostile input in bounded time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Limits, Vocabulary, ir, parse, terms

from .machine_tools import allowed, rich_compiler


def test_each_kind_goes_to_its_front_end() -> None:
    assert parse(GrammarSpec.regex("a|b")).start == "regex"
    assert GrammarSpec.choices(text for text in "ab") == GrammarSpec.choices(["a", "b"])
    assert parse(GrammarSpec.choices(["a"])) == ir.GrammarIR({"start": ir.Term(ir.Lit("a"))})
    assert parse(GrammarSpec.json_schema({"type": "null"})).rules
    assert parse(GrammarSpec.ebnf('start: "a"')).start == "start"
    assert parse(GrammarSpec.ebnf('root ::= "a"')).start == "root"


@pytest.mark.parametrize("pattern", [r"[^\s\S]", r"a[^\s\S]b", r"[^\s\S]+"])
def test_a_regex_that_matches_nothing(pattern: str) -> None:
    with pytest.raises(GrammarError, match="nothing matches") as caught:
        parse(GrammarSpec.regex(pattern))
    assert caught.value.where == "regex"


@pytest.mark.parametrize(
    ("source", "message"),
    [("[]", "at least one choice"), ("[1]", "a list of strings"), ('"a"', "a list of strings"),
     ("[", "no JSON text"), ("[" * 100_000, "no JSON text")],
)  # fmt: skip
def test_choices_that_cannot_be(source: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        parse(GrammarSpec(kind="choices", source=source))


def test_limits() -> None:
    with pytest.raises(GrammarError, match="at most 10 characters"):
        parse(GrammarSpec.regex("a" * 11), Limits(source=10))
    with pytest.raises(GrammarError, match="too many automaton states"):
        parse(GrammarSpec.regex("(?:a1|b*)(?:f|g+)*x{3}y{4}z{5}[cde]+é*1{2}"), Limits(states=20))


def test_a_long_way_to_the_nearest_text_is_walked_or_an_error() -> None:
    parse(GrammarSpec.json_schema({"type": "string", "pattern": "^[a-z]*$", "minLength": 25_000}))
    periods = [{"pattern": f"^(a{{{period}}})*$"} for period in (13, 17, 19, 23)]
    string = {"type": "string", "minLength": 1, "allOf": periods}
    for schema, where in (
        (string, "#"),
        ({"anyOf": [{"type": "integer"}, string]}, "#"),
        ({"type": "object", "properties": {"x": string, "y": {}}}, "#"),
    ):
        with pytest.raises(GrammarError, match="among 20,000 states") as caught:
            parse(GrammarSpec.json_schema(schema))
        assert caught.value.where == where


HOSTILE = [
    "(a+)+$",
    "((a{100}){100}){100}",
    "a{0,1000000}",
    "(a?){1000}a{1000}",
    "a?" * 5000 + "a" * 5000,
    "(x+x+)+y",
    "(a|b)*a(a|b){1000}",
    "(.*){50}z",
    "(.*a){30}",
    "(a|aa){0,1000}",
    "(a{1,50}){1,50}",
    "|".join(str(n) for n in range(20_000)),
    "[ab]" * 20_000,
    "(" * 100 + "a" + ")*" * 100,
    "(a|b|ab)*" * 300,
]


@pytest.mark.parametrize("pattern", HOSTILE, ids=[p[:20] for p in HOSTILE])
def test_hostile_regexes_work_or_are_refused_in_time(pattern: str) -> None:
    start = time.process_time()
    compiler = rich_compiler()
    try:
        matcher = compiler.compile(GrammarSpec.regex(pattern)).matcher()
        for text in (b"a", b"a", b"b", b"aba", b"a" * 30, b"1"):
            assert allowed(matcher, compiler.vocabulary.size, 5000)
            matcher.accept_bytes(text)
            matcher.forced_bytes()
    except GrammarError as error:
        assert error.message  # noqa: PT017
    assert time.process_time() - start < 5


def test_a_worker_needs_no_torch() -> None:
    code = (
        "import sys; from espalier.grammar import GrammarSpec, parse;"
        "parse(GrammarSpec.regex('a+')); parse(GrammarSpec.json_schema({'type': 'string'}));"
        "bad = {'torch', 'transformers', 'tokenizers'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "option",
    [
        {"whitespace": "pretty"},
        {"property_order": "alphabetical"},
        {"format": "asserted"},
        {"ascii": "yes"},
        {"lenient": 1},
        {"kind": "json"},
        {"source": b"{}"},
        {"whitespace": ["json"]},
    ],
)
def test_an_option_that_is_none_is_named(option: dict[str, Any]) -> None:
    [(name, value)] = option.items()
    with pytest.raises(GrammarError) as caught:
        GrammarSpec(**({"kind": "json_schema", "source": "true"} | option))
    assert caught.value.where == name
    assert repr(value) in str(caught.value)
    with pytest.raises(GrammarError):
        msgspec.structs.replace(GrammarSpec.json_schema(True), **option)
    body = msgspec.msgpack.encode({"kind": "json_schema", "source": "true"} | option)
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.msgpack.decode(body, type=GrammarSpec)


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("regex", {"whitespace": "free"}),
        ("regex", {"lenient": True}),
        ("ebnf", {"property_order": "any"}),
        ("choices", {"ascii": True}),
        ("terms", {"format": "annotate"}),
        ("structural_tag", {"registry": (("http://a.b/c", "true"),)}),
    ],
)
def test_an_option_that_a_kind_does_not_have_is_refused(kind: str, option: dict[str, Any]) -> None:
    [name] = option
    with pytest.raises(GrammarError) as caught:
        GrammarSpec(kind=kind, source="x", **option)  # type: ignore[arg-type]
    assert caught.value.where == name
    assert repr(kind) in str(caught.value)


def test_what_no_process_could_be_sent_is_refused_here() -> None:
    lone = "\ud800"
    deep: terms.Term = terms.text("a")
    for _ in range(100_000):
        deep = terms.optional(deep)
    made: list[Callable[[], GrammarSpec]] = [
        lambda: GrammarSpec.regex(f"a{lone}"),
        lambda: GrammarSpec.ebnf(lone),
        lambda: GrammarSpec.choices([lone]),
        lambda: GrammarSpec.json_schema(f'"{lone}"'),
        lambda: GrammarSpec.json_schema(True, registry={lone: True}),
        lambda: terms.grammar(lone),
        lambda: terms.grammar(terms.ref(lone), **{lone: "a"}),
        lambda: terms.grammar(deep),
        lambda: GrammarSpec.structural_tag([{"begin": lone, "end": "", "schema": True}], [lone]),
    ]
    for make in made:
        with pytest.raises(GrammarError, match=r"surrogate|too deeply"):
            make()
    assert parse(GrammarSpec.json_schema('{"const": "\\ud83d\\ude00"}'))


@pytest.mark.parametrize(
    "registry",
    [
        {"http://a.b/c": "true"},
        ("http://a.b/c",),
        (("http://a.b/c", True),),
        (("http://a.b/c#d", "true"),),
        (("", "true"),),
        (("b", "true"), ("a", "true")),
        (("a", "true"), ("a", "false")),
    ],
)
def test_a_registry_that_is_none(registry: Any) -> None:
    with pytest.raises(GrammarError) as caught:
        GrammarSpec(kind="json_schema", source="true", registry=registry)
    assert caught.value.where == "registry"


def test_a_registry_is_part_of_the_spec() -> None:
    one = GrammarSpec.json_schema({"$ref": "http://a/b"}, registry={"http://a/b": {"type": "null"}})
    same = GrammarSpec.json_schema(
        {"$ref": "http://a/b"}, registry={"http://a/b#": '{"type": "null"}'}
    )
    other = GrammarSpec.json_schema({"$ref": "http://a/b"}, registry={"http://a/b": True})
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=GrammarSpec) == one
    assert one.size > len(one.source)
    with pytest.raises(GrammarError, match="at most 40 characters"):
        parse(one, Limits(source=40))


def test_the_size_of_a_grammar_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = GrammarSpec.json_schema({"properties": {f"p{i}": {} for i in range(40)}})
    parsed = parse(schema)
    monkeypatch.setattr("espalier.grammar.facts.MAX_EXPRESSIONS", 100)
    with pytest.raises(GrammarError, match="at most 100 expressions"):
        parse(schema)
    with pytest.raises(GrammarError, match="at most 100 expressions"):
        rich_compiler().load(parsed)


def test_what_the_worker_lets_pass_an_engine_can_load() -> None:
    """And no more: an engine makes it ready between two steps."""
    compiler = GrammarCompiler(Vocabulary([bytes([i]) for i in range(256)] + [b""], [256], [256]))
    for letters in ("ab", "abc"):
        schema = {
            "type": "object",
            "properties": {
                f"{word}{i}": {"type": "string", "pattern": f"^[{letters}]{{{i}}}x{i}$"}
                for i in range(60)
                for word in ("left", "right")
            },
        }
        grammar = parse(GrammarSpec.json_schema(schema))
        before = compiler.arena._serial
        compiler.load(grammar)
        assert 0 < compiler.arena._serial - before < 40_000
    greedy = {"type": "string", "pattern": "a.{13}b", "maxLength": 14}
    with pytest.raises(GrammarError):
        parse(GrammarSpec.json_schema(greedy))

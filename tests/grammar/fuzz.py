"""Fuzzing of the three parsers: whatever comes in, nothing but a GrammarError comes out; and where
a grammar comes out, its masks are what its matcher takes.

Two ways to make input: values of the right shape with wrong parts, and texts that grow from good
ones by edits. `python -m tests.grammar.fuzz --seconds 600` (make fuzz) goes on for that long, with
hypothesis, which shrinks what it finds, and with atheris beside it where that is installed
(coverage-guided; `pip install atheris`, it is no dependency).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, seed, settings, strategies as st

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Limits, ir, parse
from espalier.grammar.regex import pattern_regular, unanchored_regular
from tests.grammar.hostile import byte_vocabulary

LIMITS = Limits(source=200_000, states=3_000)
ROUND = 50  # inputs of a kind before the next kind's turn
SECONDS = 2.5
"""CPU time that one input may take."""


# -- texts that grow from good ones ----------------------------------------------------------------

PATTERNS = (
    r"^(?:a|b)*?c{2,5}[^\d\s_-]+$", r"(?i:straße)\p{Lu}\P{N}\u00e9\x41", r"(?=.*\d)(?!x)[\w.]{3,}",
    r"(?<=a)b(?<!ab)\.", r"(?P<year>\d{4})-(?P=year)", r"(?s:.)(?a:\w)[[:alpha:]]", r"\bword\B\Z",
    r"a{,3}b{3,}c{1000000}", r"[\]\^-]|[a-\x7f]|", r"(?x) a # comment", r"(?>a)b++(?#c)\1\k<n>",
    r"\cA\0\777\u{1F600}\N{DIGIT ONE}",
)  # fmt: skip
PATTERN_WORDS = [
    *"()[]{}|*+?.^$\\-,:=!<>#", "(?:", "(?=", "(?<!", "(?i)", "(?-i:", "(?P<a>", "{1,", "{0}",
    "{1000000}", r"\d", r"\W", r"\p{", r"\p{Script=Greek}", r"\x", r"\u", r"\u{", r"\b", r"\1",
    "[^", "&&", "é", "\U0001f600", "\x00", "\ud800",
]  # fmt: skip
GRAMMARS = (
    'start: (a | "b")* -> x\na: /[a-z]+/i "," a?\n%ignore " "',
    'start: _sep{item, ","} ~ 2..3\n_sep{x, y}: x (y x)*\nitem: NUMBER\n%import common.NUMBER',
    'start: start "+" start | "(" start ")" | X\nX.2: "0".."9"+\n%import common (WS)\n%ignore WS',
    '%declare A\nstart: a\n?a: !"x"i | [B]\nB: /(?i:b)\\/c/x\n// comment',
    'root ::= ("a" | b)+ [^a-z\\n]{2,3} # comment\nb ::= "\\x41\\u00e9" root?\n',
    'root ::= ws "{" ws (pair ("," ws pair)*)? "}"\npair ::= [a-z]* ":" root\nws ::= [ \\t]*',
)
GRAMMAR_WORDS = [
    *'()[]{}|*+?.:"/~!,\\ \n', "start", "root", "::=", "->", "%import", "%ignore", "%declare",
    "%override", "%extend", "common.", "WS", "common.WORD -> W", "a", "A", "_a", '"a"', "/a/",
    "/(/", "1..2", '"a".."z"', "{2,", "~ 3", "//", "#", ":", "\\x", "\x00", "é", "\ud800", "..",
    "%import .x (y)", "%import python.NAME",
]  # fmt: skip
SCHEMAS = (
    '{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"required":["a"],"$defs":{"b":{"enum":[1,"x",null]}}}',
    '{"anyOf":[{"type":["string","null"],"pattern":"^a+$","maxLength":5},{"minimum":1.5,"multipleOf":0.1}]}',
    '{"type":"array","prefixItems":[{"const":{"a":[1]}}],"items":{"not":{"type":"integer"}},"uniqueItems":true,"contains":{}}',
    '{"$id":"http://a/b","$dynamicAnchor":"x","oneOf":[{"$dynamicRef":"#x"},{"$anchor":"y","format":"date"}]}',
    '{"if":{"required":["a"]},"then":{"dependentSchemas":{"a":false}},"unevaluatedProperties":{"$ref":"b#y"}}',
    '{"$schema":"http://json-schema.org/draft-07/schema#","items":[true],"additionalItems":{},"dependencies":{"a":["b"]}}',
)
SCHEMA_WORDS = [
    *'{}[],:"', "true", "false", "null", "-1", "1e400", "0.1", "1e-400", "NaN", "-Infinity", '"a"',
    '"#"', '"#/"', '"\\ud800"', "\ud800", '"$ref":', '"not":', '"items":', '"enum":', '"pattern":',
    '"(":', '"type":', '"minimum":', '"$id":', '"$anchor":', '"uniqueItems":', "9" * 30,
]  # fmt: skip


@st.composite
def edited(draw: st.DrawFn, texts: tuple[str, ...], words: list[str]) -> str:
    """One of the texts after some edits: pieces left out, repeated, put in, or put elsewhere."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2, 2, 3, 8)))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        new = draw(
            st.one_of(
                st.just(""),
                st.sampled_from(words),
                st.text(max_size=3),
                st.integers(0, len(text)).map(lambda at, text=text: text[at : at + 20]),
                st.integers(2, 60).map(lambda n, piece=text[start:end]: piece * n),
            )
        )
        text = text[:start] + new + text[end:]
    return text


# -- schemas of the right shape, with wrong parts --------------------------------------------------

_NAMES = st.sampled_from(["a", "b", "~/%", "", "é", "#", "\ud800", "properties", "a" * 300])
_NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.integers(),
    st.floats(),
    st.sampled_from([10**9, 10**400, -0.0, 1e308, 5e-324, 0.1]),
)
_REFERENCES = st.sampled_from(
    ["#", "#/$defs/a", "#/$defs/b/items", "#a", "b", "http://x/y#a", "#/%24defs/a", "#/a~2", "",
     "//[", "urn:x", "http://x/y", "#/$defs/a/properties/a"]
)  # fmt: skip
_JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _NAMES, st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)
    ),
    max_leaves=5,
)
_TYPES = st.sampled_from(
    ["null", "boolean", "integer", "number", "string", "array", "object", "any", "", "String"]
)


def _keywords(inner: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    maps = st.dictionaries(_NAMES, inner, max_size=3)
    lists = st.lists(inner, max_size=3)
    names = st.lists(_NAMES, max_size=3)
    patterns = edited(PATTERNS, PATTERN_WORDS)
    found: dict[str, st.SearchStrategy[Any]] = {
        "type": st.one_of(_TYPES, st.lists(_TYPES, max_size=3)),
        "enum": st.lists(_JUNK, max_size=4),
        "const": _JUNK,
        "pattern": patterns,
        "patternProperties": st.dictionaries(patterns, inner, max_size=2),
        "required": names,
        "uniqueItems": st.booleans(),
        "format": st.sampled_from(["date", "email", "uri", "regex", "own", "ipv6", "date-time"]),
        "dependentRequired": st.dictionaries(_NAMES, names, max_size=2),
        "dependencies": st.dictionaries(_NAMES, st.one_of(names, inner), max_size=2),
        "items": st.one_of(inner, lists),
        "$schema": st.sampled_from(
            ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/schema", "x"]
        ),
        "$recursiveAnchor": st.booleans(),
        "exclusiveMinimum": st.one_of(st.booleans(), _NUMBERS),
        "exclusiveMaximum": st.one_of(st.booleans(), _NUMBERS),
    }
    for word in ("$ref", "$dynamicRef", "$recursiveRef", "$id", "id"):
        found[word] = _REFERENCES
    for word in ("$anchor", "$dynamicAnchor"):
        found[word] = _NAMES
    for word in ("properties", "$defs", "definitions", "dependentSchemas"):
        found[word] = maps
    for word in ("allOf", "anyOf", "oneOf", "prefixItems"):
        found[word] = lists
    for word in ("not", "if", "then", "else", "contains", "propertyNames", "additionalProperties"):
        found[word] = inner
    for word in ("additionalItems", "unevaluatedItems", "unevaluatedProperties"):
        found[word] = inner
    for word in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "minContains"):
        found[word] = _NUMBERS
    for word in ("maxProperties", "maxContains", "minimum", "maximum", "multipleOf"):
        found[word] = _NUMBERS
    return {word: st.one_of(value, value, value, value, _JUNK) for word, value in found.items()}


@st.composite
def _schema(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    keywords = _keywords(inner)
    chosen = draw(st.lists(st.sampled_from(sorted(keywords)), max_size=5, unique=True))
    return {word: draw(keywords[word]) for word in chosen}


SCHEMA_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.booleans(), _JUNK), _schema, max_leaves=12
)
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "property_order": st.sampled_from(["declared", "any"]),
        "whitespace": st.sampled_from(["compact", "json", "free"]),
        "format": st.sampled_from(["assert", "annotate"]),
        "ascii": st.booleans(),
        "lenient": st.booleans(),
        "registry": st.dictionaries(
            st.sampled_from(["b", "http://x/y", "urn:x", "x", "http://x/y#"]),
            st.one_of(SCHEMA_VALUES, edited(SCHEMAS, SCHEMA_WORDS)),
            max_size=2,
        ),
    },
)


# -- context-free grammars of the right shape ------------------------------------------------------


def _expansions(symbols: list[str], counts: list[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(["a", "b", "c", '"x"', '"ab"', '"é"', "root", *symbols]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["*", "+", "?", *counts])).map(
                lambda pair: f"({pair[0]}){pair[1]}"
            ),
            st.lists(inner, min_size=1, max_size=3).map(" ".join),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({' | '.join(parts)})"),
        ),
        max_leaves=6,
    )


_LARK = _expansions(["T", "/[a-z]+/", "/(?!x)./", '"x"i'], ["~2..3", "~0", "~4"])
_GBNF = _expansions(["[^a-c]", '""', "."], ["{2,3}", "{0}", "{1,}"])


@st.composite
def _rules(draw: st.DrawFn) -> str:
    """Rules that may call each other on the left, for ever, or not at all."""
    gbnf = draw(st.booleans())
    start, sign = ("root", " ::= ") if gbnf else ("start", ": ")
    names = [start, *draw(st.permutations(["a", "b", "c"])), *([] if gbnf else ["root"])]
    lines = [f"{name}{sign}{draw(_GBNF if gbnf else _LARK)}" for name in names]
    if not gbnf:
        lines += ["T: /[0-9]{1,3}/", *draw(st.sampled_from([[], ['%ignore " "'], ["%ignore T"]]))]
    return "\n".join(line for line in lines if draw(st.integers(0, 20)))


# -- what must hold --------------------------------------------------------------------------------


def read(spec: GrammarSpec) -> None:
    """As an engine's worker does: what is read crosses to another process."""
    grammar = parse(spec, LIMITS)
    assert ir.decode(ir.encode(grammar)) == grammar


def bounded(work: Callable[[], object]) -> None:
    """Runs it: a GrammarError that says something, or none, and in time."""
    begin = time.process_time()
    said = True
    try:
        work()
    except GrammarError as error:
        said = bool(error.message or error.expected)
    taken = time.process_time() - begin
    assert said, "an error that says nothing"
    assert taken < SECONDS, f"{taken:.2f} s"


def try_schema(schema: Any, options: dict[str, Any]) -> None:
    bounded(lambda: read(GrammarSpec.json_schema(schema, **options)))


def try_regex(pattern: str, ascii: bool) -> None:
    bounded(lambda: read(GrammarSpec.regex(pattern, ascii=ascii)))
    bounded(lambda: pattern_regular(pattern, ascii=ascii))
    bounded(lambda: unanchored_regular(pattern))


def try_ebnf(text: str) -> None:
    bounded(lambda: read(GrammarSpec.ebnf(text)))


def try_walk(kind: str, source: Any, seed: int) -> None:
    """A few tokens of what was accepted: each mask is what `accept` takes, with or without a budget
    (which may withhold), and nobody gets stuck."""
    bounded(lambda: _walk(_spec(kind, source), random.Random(seed)))


def _spec(kind: str, source: Any) -> GrammarSpec:
    if kind == "schema":
        return GrammarSpec.json_schema(source)
    return GrammarSpec.regex(source) if kind == "regex" else GrammarSpec.ebnf(source)


def _walk(spec: GrammarSpec, draw: random.Random) -> None:
    matcher = GrammarCompiler(VOCABULARY, limits=LIMITS).compile(spec).matcher()
    mask = np.zeros(VOCABULARY.words, dtype=np.uint32)
    for _ in range(6):
        matcher.fill_mask(mask)
        taken = {t for t in range(VOCABULARY.size) if matcher.copy().accept(t)}
        assert _tokens(mask) == taken
        matcher.fill_mask(mask, draw.choice((1, 3, 20, 1_000)))
        within = _tokens(mask)
        assert within, "stuck"
        assert within <= taken
        assert matcher.accept(draw.choice(sorted(within)))
        if matcher.is_terminated:
            break


def _tokens(mask: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


_SOURCES = st.one_of(
    st.tuples(st.just("schema"), SCHEMA_VALUES),
    st.tuples(st.just("schema"), st.sampled_from(SCHEMAS)),
    st.tuples(st.just("regex"), edited(PATTERNS, PATTERN_WORDS)),
    st.tuples(st.just("ebnf"), _rules()),
)
VOCABULARY = byte_vocabulary()

TARGETS: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "schema": (try_schema, (SCHEMA_VALUES, _OPTIONS)),
    "schema text": (try_schema, (edited(SCHEMAS, SCHEMA_WORDS), _OPTIONS)),
    "regex": (try_regex, (edited(PATTERNS, PATTERN_WORDS), st.booleans())),
    "walk": (
        lambda source, seed: try_walk(*source, seed),
        (_SOURCES, st.integers(0, 2**32)),
    ),
    "ebnf": (try_ebnf, (st.one_of(_rules(), edited(GRAMMARS, GRAMMAR_WORDS)),)),
}


def examples(target: str, number: int, examples: int) -> None:
    """Draws that many inputs by a seed, and tries them."""
    work, strategies = TARGETS[target]

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def tried(args: tuple[Any, ...]) -> None:
        work(*args)

    tried()


# -- for as long as one likes ----------------------------------------------------------------------


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--seed", type=int, default=int(time.time()))
    args = options.parse_args()
    warnings.simplefilter("error")
    end = time.monotonic() + args.seconds
    beside = []
    if importlib.util.find_spec("atheris") is not None:
        command = [
            sys.executable,
            "-m",
            "tests.grammar.fuzz_guided",
            "--seconds",
            str(args.seconds),
        ]
        beside = [subprocess.Popen([*command, name]) for name in ("schema text", "regex", "ebnf")]
    rounds, tried = 0, dict.fromkeys(TARGETS, 0)
    while time.monotonic() < end:
        for target in TARGETS:
            examples(target, args.seed + rounds, ROUND)
            tried[target] += ROUND
        rounds += 1
    codes = [process.wait() for process in beside]
    print(json.dumps({"seed": args.seed, "inputs": tried, "atheris": codes}))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())

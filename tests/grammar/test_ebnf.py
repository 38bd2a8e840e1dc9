"""Context-free grammars: lark's Earley parser says which texts they derive, and so do they."""

from __future__ import annotations

from itertools import product

import pytest
from lark import Lark
from lark.exceptions import LarkError

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary, parse

LETTERS = "1+( )ab"
VOCABULARY = Vocabulary(
    [b"", *(bytes([b]) for b in LETTERS.encode()), b"1+", b") ", b"ab"], [0], [0]
)

LARK = {
    "left recursion": 'start: start "+" "1" | "1"',
    "ambiguity": 'start: start start | "1"',
    "operators": 'start: start "+" start | "(" start ")" | "1"',
    "terminals": 'start: (A "+")* A\nA: /1+/ | "ab"',
    "repetition": 'start: "1"~2..3 ["+"] ("a" "b"?)~2',
    "templates": '_sep{x, y}: x (y x)*\nstart: "(" [_sep{item, "+"}] ")"\nitem: "1" | "a"',
    "ignored": 'start: "a" "b"+\n%ignore " "',
    "ignored twice": 'start: "a" x\nx: "b" | "(" x ")"\n%ignore " "\n%ignore "+"',
    "library": "start: INT WS? INT\n%import common (INT, WS)",
    "flags": 'start: "AB"i /[A]/i /B/i',
    "inlined, aliased": '?start: x -> one | y -> two\n_z: "1"\nx: _z "+"\n!y: "a" _z',
    "empty": 'start: "1" x "1"\nx: | "+" x',
    "a keyword is also a name": 'start: "ab" NAME | NAME\nNAME: /[ab]+/',
    "options in a row": 'start: "1"? "+" "a"? ("b" | "1")? ["a" x]\nx: ("1" | "+" y)~1..2\ny: ',
    "ignored between options": 'start: "a"~2..3 ("b" | x)*\nx: "1"\n%ignore " "',
    "a template of templates": 'start: w{w{A}} "b"?\nw{x}: "(" x\nA: "a"',
    "declared twice over": 'start: X Y\nX: "1" | "11"\nY: X "+"',
}

GBNF = {
    "operators": (
        'root ::= t ("+" t)*\nt ::= "1" | "(" root ")"',
        'start: t ("+" t)*\nt: "1" | "(" start ")"',
    ),
    "classes": ('root ::= [ab]+ [^ab()+]{1,2} "1"?', "start: /[ab]+[^ab()+]{1,2}1?/"),
    "lines": (
        '# it begins\nroot ::=\n  "a"\n  | "b" x # here\n  | (\n "1"\n)\nx ::= "+"',
        'start: "a" | "b" "+" | "1"',
    ),
    "left": ('root ::= root "1" | ""', 'start: | start "1"'),
    "counts": (
        'root ::= ("1" x){2} x{0,1} "a"{,2}\nx ::= "+" | "b"',
        'start: ("1" x)~2 x~0..1 "a"~0..2\nx: "+" | "b"',
    ),
    "escapes": (r'root ::= "\x61" "\u0062" [\x31-\x31] "\\"? .', r'start: "ab1" "\\"? /(?s:.)/'),
}


def _accepted(text: str, ebnf: str) -> bool:
    matcher = GrammarCompiler(VOCABULARY).compile(GrammarSpec.ebnf(ebnf)).matcher()
    return all(matcher.accept(1 + LETTERS.index(c)) for c in text) and matcher.can_end


def _same_as_lark(ebnf: str, reference: str, length: int = 5) -> None:
    grammar = GrammarCompiler(VOCABULARY).compile(GrammarSpec.ebnf(ebnf))
    oracle = Lark(reference, parser="earley", lexer="dynamic_complete")
    some = 0
    for count in range(length + 1):
        for letters in product(LETTERS, repeat=count):
            matcher = grammar.matcher()
            ours = all(matcher.accept(1 + LETTERS.index(c)) for c in letters) and matcher.can_end
            try:
                oracle.parse("".join(letters))
                theirs = True
            except LarkError:
                theirs = False
            assert ours == theirs, "".join(letters)
            some += ours
    assert some


@pytest.mark.parametrize("name", LARK)
def test_lark_grammars_derive_what_lark_parses(name: str) -> None:
    _same_as_lark(LARK[name], LARK[name], 4)


@pytest.mark.parametrize("name", GBNF)
def test_gbnf_derives_what_its_twin_does(name: str) -> None:
    _same_as_lark(*GBNF[name], 4)


def test_a_quoted_string_of_larks_library() -> None:
    spec = GrammarSpec.ebnf("start: ESCAPED_STRING\n%import common.ESCAPED_STRING")
    vocabulary = Vocabulary([b"", b'"', b"\\", b"a"], [0], [0])
    for tokens, whole in (([1, 3, 1], True), ([1, 2, 1], False), ([1, 2, 2, 1], True)):
        matcher = GrammarCompiler(vocabulary).compile(spec).matcher()
        assert all(matcher.accept(token) for token in tokens)
        assert matcher.can_end == whole


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ('root ::= "a', "never closed", "line 1, column 10"),
        ('root ::= x\ny ::= "a"', "called and not defined", "line 1, column 10"),
        ('x ::= "a"', "a rule named 'root'", "ebnf"),
        ('root ::= "a"\nroot ::= "b"', "defined twice", "line 2, column 1"),
        ("root ::= [b-a]", "not in order", "line 1, column 14"),
        ('root ::= ("a"', "never closed", "line 1, column 10"),
        ('root ::= "a")', "unmatched", "line 1, column 13"),
        ('root ::= "a"{3,1}', "below its minimum", "line 1, column 13"),
        ('root ::= "a"{9999999}', "count above", "line 1, column 13"),
        (r'root ::= "\q"', "an escape that is none", "line 1, column 11"),
        ("root ::= " + "(" * 300 + '"a"' + ")" * 300, "nested", "line 1, column 210"),
        ('start: "a" %', "neither lark's syntax", "line 1, column 12"),
        ("start: x", "x", "ebnf"),
        ('begin: "a"', "start", "ebnf"),
        ("%import .secrets.KEY\nstart: KEY", "the import of secrets", "ebnf"),
        ("%import\\\n.secrets.KEY\nstart: KEY", "the import of secrets", "ebnf"),
        ("%import other.KEY\nstart: KEY", "the import of other", "ebnf"),
        ("%import python.NAME.x\nstart: x", "the import of python.NAME", "ebnf"),
        ("%import common.WS (A)\nstart: A", "the import of common.WS", "ebnf"),
        ("%declare X\nstart: X", "declared and not defined", "X"),
        ("start: t ~ 2\nt{x, y}: x y", "the template t is used without", "t"),
        ('start: t{u}\nt{x}: x "a"\nu{x}: x', "the template u is used without", "u"),
        ("start: X\nX: /a(?=b)/", "lookahead", "X, column 2"),
        (r"start: X" "\n" r"X: /(a)\1/", "backreference", "X, column 4"),
    ],
)
def test_what_is_refused_is_named(text: str, what: str, where: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse(GrammarSpec.ebnf(text))
    assert what in str(caught.value)
    assert caught.value.where == where


def test_no_prompt_of_a_mask_depends_on_where_a_lexer_would_cut() -> None:
    """The longest match of NAME would eat the keyword; nothing here prefers it."""
    ebnf = 'start: NAME "ab"\nNAME: /[ab]+/'
    assert _accepted("aab", ebnf)
    assert _accepted("abab", ebnf)
    assert not _accepted("ab", ebnf)


def test_an_option_that_lark_would_have_twice() -> None:
    _same_as_lark('start: x? x? ("a" | "a") "+"\nx: "1"', 'start: x~0..2 "a" "+"\nx: "1"', 4)


def test_options_in_a_row_are_not_multiplied() -> None:
    """2^30 sequences of symbols, in thirty loops."""
    names = [chr(ord("a") + i % 26) * (1 + i // 26) for i in range(30)]
    grammar = parse(
        GrammarSpec.ebnf("start: " + " ".join(f'[x "{name}"]' for name in names) + "\nx: ")
    )
    assert len(grammar.rules) == 2
    words = " | ".join(f'"word {i}"' for i in range(5_000))
    explained = (
        GrammarCompiler(BYTES).compile(GrammarSpec.ebnf(f"start: {words}")).explain("word 77")
    )
    assert explained.accepted


BYTES = Vocabulary([*(bytes([i]) for i in range(256)), b""], [256], [256])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('start: t{"a"}\nt{x}: "b" | t{u{x}}\nu{x}: x x', "ever more rules"),
        ("start: A0\n" + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(40)) + '\nA40: "a"',
         "too large"),
        ('%declare A\nstart: B\nB: A "x"', "lark cannot read"),
        ('start: A\nA: "a"\nB: A A\n' + "%extend A: B B\n" * 30, "Recursion|too large"),
        ("start: A\nA: " + "/a/ " * 50_000, "at most 150,000 characters"),
        ('start: "a"~3..2', "expected 0 <= low <= high"),
        ('start: "a"~9999999999', "a count above"),
    ],
)  # fmt: skip
def test_what_would_never_end_or_lark_stumbles_over(text: str, what: str) -> None:
    with pytest.raises(GrammarError, match=what):
        parse(GrammarSpec.ebnf(text))

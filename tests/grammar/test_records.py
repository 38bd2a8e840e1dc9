"""Records: which terms they are, and that a loop over them is the term's own language."""

from __future__ import annotations

import pytest

from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary
from espalier.grammar.arena import Arena
from espalier.grammar.lower import lower
from espalier.grammar.program import LOOP
from espalier.grammar.records import is_record
from espalier.grammar.regex import regex_regular

from .machine_tools import accepted, allowed


@pytest.mark.parametrize(
    ("pattern", "is_one"),
    [
        (r"[a-z]+: [^\n]{1,80}\n", True),
        (r"(?:a|bc|[d-f]é)*;;", True),
        (r"(?=.*x)[a-z]{2,5}\n", False),  # a product; it is not looked into
        ("abc", False),  # one literal
        (r"[a-z]+\n?", False),
        (r"[^,]*\n\n", False),  # a line end may stand before
        ("(?!a)[^;]*;", False),
        (".*a", False),
        ("a|b", False),
    ],
)
def test_which_terms_are_records(pattern: str, is_one: bool) -> None:
    arena = Arena()
    assert is_record(arena, lower(arena, regex_regular(pattern))) is is_one


def test_records_are_a_loop_with_the_same_masks() -> None:
    words = [b"ab;", b"a;b", b";a", b";;", b"b;a;", b"abab", b";a;b;a"]
    tokens = [b"", *(bytes([byte]) for byte in range(256)), *words]
    compiler = GrammarCompiler(Vocabulary(tokens, [0], [0]))
    size = compiler.vocabulary.size
    loop = compiler.compile(GrammarSpec.regex("(?:[ab]{1,3};){2,3}"))
    program = loop.machine.program
    assert program.body(program.start.rule).kind == LOOP
    plain = compiler.compile(GrammarSpec.regex("(?:[ab]{1,3};){2}(?:[ab]{1,3};)?"))
    texts = ["a", "abb", "ab;", "ab;a", "ab;a;", "ab;a;b"]
    for text in texts:
        one, other = loop.matcher(), plain.matcher()
        assert one.accept_bytes(text.encode())
        assert other.accept_bytes(text.encode())
        assert one.can_end == other.can_end == (text.count(";") >= 2 and text.endswith(";"))
        assert allowed(one, size) == allowed(other, size) == accepted(one, size)

"""Compilers: caches, several vocabularies, the yardstick's grammars with a real tokenizer."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
import tracemalloc
from functools import cache

import numpy as np
import pytest
from tokenizers import Tokenizer

from espalier import grammar
from espalier.errors import GrammarError, InvalidRequestError
from espalier.grammar import (
    CompiledGrammar,
    GrammarCompiler,
    GrammarSpec,
    Matcher,
    Vocabulary,
    ir,
    parse,
)
from espalier.grammar.arena import Arena
from espalier.grammar.facts import Facts
from espalier.grammar.kept import Kept
from espalier.grammar.program import Expr, Program
from tests.support import data_path

from .machine_tools import allowed, regex_matcher, rich_compiler, vocabulary


def test_what_is_no_vocabulary_and_no_spec_is_told_so() -> None:
    with pytest.raises(InvalidRequestError, match=r"got 'a' \(at tokens\[1\]\)"):
        Vocabulary([b"a", "a"])  # type: ignore[list-item]
    with pytest.raises(InvalidRequestError, match="at least one token"):
        GrammarCompiler(Vocabulary([]))
    for wrong in ("a", None):
        with pytest.raises(InvalidRequestError, match="expected a GrammarSpec"):
            rich_compiler().compile(wrong)  # type: ignore[arg-type]


def test_lark_is_ready_before_the_first_grammar_in_its_syntax() -> None:
    program = """
from espalier.grammar import GrammarCompiler, Vocabulary
import sys
vocabulary = Vocabulary([b"a", b""], eos_ids=[1])
GrammarCompiler(vocabulary, parses=False)
assert "lark" not in sys.modules
GrammarCompiler(vocabulary)
assert "lark" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names_are_sorted_and_there() -> None:
    assert grammar.__all__ == sorted(grammar.__all__)
    for name in grammar.__all__:
        assert getattr(grammar, name) is not None
        assert name in dir(grammar)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = grammar.Nothing


def _of_bytes() -> GrammarCompiler:
    """For a vocabulary of all bytes."""
    return GrammarCompiler(Vocabulary([b"", *(bytes([b]) for b in range(256))], [0], [0]))


def test_a_grammar_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = _of_bytes()
    read: list[ir.GrammarIR] = []
    begin = Facts.__init__

    def noted(self: Facts, arena: Arena, grammar: ir.GrammarIR) -> None:
        read.append(grammar)
        begin(self, arena, grammar)

    monkeypatch.setattr(Facts, "__init__", noted)
    spec = GrammarSpec.json_schema({"enum": [1, "a", None]})
    compiled = compiler.compile(spec)
    assert len(read) == 1
    loaded = compiler.load(parse(spec))
    assert compiled.machine.program.arena is compiler.arena
    assert loaded.matcher().accept_bytes(b'"a"')


def test_a_large_grammar_is_built_where_it_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"k{number}" for number in range(9)]
    properties = {name: {"type": "array", "items": {"const": name}} for name in names}
    schema = {"properties": properties, "additionalProperties": False}
    spec = GrammarSpec.json_schema(schema, property_order="any")
    built: list[int] = []
    body = Program.body

    def noted(self: Program, rule: int) -> Expr:
        built.append(rule)
        return body(self, rule)

    monkeypatch.setattr(Program, "body", noted)
    matcher = _of_bytes().compile(spec).matcher()
    rules = len(matcher._grammar.machine.program.facts.grammar.rules)
    assert rules > 2 ** len(names)
    assert matcher.accept_bytes(b'{"k3": ["k3"], "k1": []}')
    assert len(set(built)) < 99


def test_equal_grammars_are_compiled_once() -> None:
    one = rich_compiler()
    spec = GrammarSpec.regex("a+")
    assert one.compile(spec) is one.compile(GrammarSpec.regex("a+"))
    assert one.compile(spec) is one.load(parse(spec))
    assert one.compile(spec) is not one.compile(GrammarSpec.regex("a+", ascii=True).regex("a"))
    assert ir.decode(ir.encode(parse(spec))) == parse(spec)


def test_caches_are_bounded() -> None:
    """By bytes: two small grammars stay, and a large one alone."""
    one = GrammarCompiler(vocabulary("ab"), kept_bytes=140 << 10)
    first = one.compile(GrammarSpec.regex("a"))
    assert one.find(GrammarSpec.regex("a")) is first
    for pattern in ("ab", "b"):
        one.compile(GrammarSpec.regex(pattern))
    assert one.find(GrammarSpec.regex("a")) is None
    assert one.compile(GrammarSpec.regex("a")) is not first
    assert len(one._by_spec) == len(one._by_content) == 2
    large = GrammarSpec.choices(["a" * n for n in range(200)])
    assert one.compile(large) is one.compile(large)
    assert len(one._by_spec) == len(one._by_content) == 1


def test_what_is_kept_was_used_last() -> None:
    kept: Kept[str, int] = Kept(10)
    for name, size in (("a", 4), ("b", 4), ("a", 5), ("c", 2)):
        kept.put(name, size, size)
    assert (kept.get("b"), kept.get("a"), kept.get("c"), kept.size) == (None, 5, 2, 7)
    kept.get("a")
    kept.put("d", 4, 4)
    assert (kept.get("c"), kept.get("a"), kept.size) == (None, 5, 9)
    kept.put("e", 99, 99)
    assert (len(kept), kept.get("e"), kept.size) == (1, 99, 99)


def test_a_full_arena_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grammars and matchers from before go on as if nothing had happened."""
    monkeypatch.setattr("espalier.grammar.machine.KEPT_CONFIGS", 20)
    one, steady = rich_compiler(), rich_compiler()
    one.arena.full = 150
    size = one.vocabulary.size
    patterns = [f"(?:a{{{n}}}|b{{{n}}}|é1?){{2,9}}1" for n in range(1, 12)]
    pairs = [(regex_matcher(p, one), regex_matcher(p, steady)) for p in patterns]
    for turn in range(12):
        for matcher, other in pairs:
            assert allowed(matcher, size) == allowed(other, size)
            assert allowed(matcher, size, turn) == allowed(other, size, turn)
            mask = sorted(allowed(other, size) - {0}) or [0]
            assert matcher.accept(mask[turn % len(mask)])
            assert other.accept(mask[turn % len(mask)])
    assert one.arena.generation > 3
    assert len(one.arena) < 2000
    one.arena.check_invariants()
    for matcher, _ in pairs:
        matcher._grammar.machine.check_invariants()


def test_one_grammar_may_not_take_everything() -> None:
    """A step that would need too many states fails alone; the next one goes on."""
    one = rich_compiler()
    good = regex_matcher("(?:ab)*", one)
    greedy = regex_matcher("[ab]*a[ab]{9}", one)
    one.arena.allowance = 3
    with pytest.raises(GrammarError, match="too many automaton states"):
        greedy.accept_bytes(b"abbabaabab")
    one.arena.allowance = 1000
    assert good.accept_bytes(b"abab")
    assert allowed(good, one.vocabulary.size)


def test_vocabularies_live_side_by_side() -> None:
    one, other = rich_compiler(), GrammarCompiler(vocabulary("ab"))
    a, b = regex_matcher("(?:ab)*", one), regex_matcher("(?:ab)*", other)
    assert a.accept(one.vocabulary.tokens.index(b"abab"))
    assert b.accept(other.vocabulary.tokens.index(b"ab"))
    assert one.vocabulary.content_hash != other.vocabulary.content_hash


def test_a_vocabulary_that_cannot_spell_the_grammar() -> None:
    one = GrammarCompiler(vocabulary("1é", letters="ab"))
    with pytest.raises(GrammarError, match="nothing matches"):
        one.compile(GrammarSpec.regex("a1"))
    # Not completable byte by byte either: 1 is only in the token "1é", é in no other.
    with pytest.raises(GrammarError, match="nothing matches"):
        one.compile(GrammarSpec.regex("1é"))
    matcher = regex_matcher("(?:1é)?a", one)
    token = one.vocabulary.tokens.index("1é".encode())
    assert token in allowed(matcher, one.vocabulary.size)
    assert matcher.accept(token)
    assert matcher.forced_bytes() == b"a"


def test_what_lenient_dropped_is_told() -> None:
    dropped = ir.GrammarIR({"start": ir.Term(ir.Lit("a"))}, dropped=("/a/format",))
    assert rich_compiler().load(dropped).dropped == ("/a/format",)


# -- with a real tokenizer -------------------------------------------------------------------------


@cache
def _llama() -> tuple[Tokenizer, GrammarCompiler]:
    tokenizer = Tokenizer.from_file(str(data_path("tokenizers/llama3/tokenizer.json")))
    return tokenizer, GrammarCompiler(Vocabulary.from_tokenizer(tokenizer, [128001, 128009]))


def _cases() -> list[dict[str, object]]:
    cases = json.loads(data_path("yardsticks/grammar_cases.json").read_text())
    assert isinstance(cases, list)
    return cases


def _specs(text: dict[str, str]) -> list[GrammarSpec]:
    if "regex" in text:
        return [GrammarSpec.regex(text["regex"])]
    if "json_schema" in text:
        return [GrammarSpec.json_schema(text["json_schema"])]
    if "json" in text:
        return [GrammarSpec.any_json()]
    return [GrammarSpec.ebnf(text["ebnf"]), GrammarSpec.ebnf(text["lark"])]


def _takes(made: CompiledGrammar, text: str) -> bool:
    """Token by token, every mask looked at."""
    tokenizer, _ = _llama()
    matcher = made.matcher()
    out = np.zeros(made.vocabulary.words, dtype=np.uint32)
    for token in tokenizer.encode(text, add_special_tokens=False).ids:
        matcher.fill_mask(out, 10_000)
        bit = bool(out[token >> 5] >> (token & 31) & 1)
        assert matcher.accept(token) == bit
        if not bit:
            return False
    return matcher.can_end


@pytest.mark.data
def test_yardstick_grammars() -> None:
    _, one = _llama()
    tried = 0
    for case in _cases():
        text = case["text"]
        assert isinstance(text, dict)
        for spec in _specs(text):
            made = one.compile(spec)
            tried += 1
            for valid in case["valid"]:  # type: ignore[attr-defined]
                assert _takes(made, valid), (case["name"], valid[:80])
            for invalid in case["invalid"]:  # type: ignore[attr-defined]
                assert not _takes(made, invalid), (case["name"], invalid[:80])
    assert tried == 28
    one.pool.check_invariants()


@pytest.mark.data
@pytest.mark.parametrize("seed", range(3))
def test_walks_with_a_real_vocabulary_end_in_time(seed: int) -> None:
    """Random tokens from the masks, with a budget: always complete, and `re` agrees."""
    import random
    import re

    _, one = _llama()
    draw = random.Random(seed)
    for case in _cases()[:8]:
        text = case["text"]
        assert isinstance(text, dict)
        matcher = one.compile(GrammarSpec.regex(text["regex"])).matcher()
        spelled = b""
        remaining = matcher.distance() + draw.randrange(30)
        while remaining:
            mask = sorted(allowed(matcher, one.vocabulary.size, remaining))
            assert mask
            token = draw.choice(mask)
            assert matcher.accept(token)
            if matcher.is_terminated:
                break
            spelled += one.vocabulary.tokens[token]
            remaining -= 1
        assert matcher.can_end
        assert re.fullmatch(text["regex"], spelled.decode())


@pytest.mark.data
def test_masks_of_a_real_vocabulary_are_what_accept_takes() -> None:
    tokenizer, one = _llama()
    size = one.vocabulary.size
    for pattern, text in [
        (r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])*"(?:, "\w{0,40}")*', '"a b'),
        (r"[\w\s]{0,200}", "The quick"),
        (r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", "192.1"),
    ]:
        matcher = regex_matcher(pattern, one)
        for token in [None, *tokenizer.encode(text, add_special_tokens=False).ids]:
            if token is not None:
                assert matcher.accept(token)
        mask = allowed(matcher, size)
        for token in range(0, size, 7):
            expected = _accepts(matcher, one.vocabulary.tokens[token])
            if token not in one.vocabulary.special_ids:
                assert (token in mask) == expected, one.vocabulary.tokens[token]


def _accepts(matcher: Matcher, text: bytes) -> bool:
    return bool(text) and matcher.copy().accept_bytes(text)


@pytest.mark.data
def test_setting_up_a_real_vocabulary_takes_no_time() -> None:
    _, one = _llama()
    start = time.process_time()
    GrammarCompiler(one.vocabulary)
    assert time.process_time() - start < 1.5


def test_compilers_of_one_vocabulary_may_share_its_trie() -> None:
    one = rich_compiler()
    other = GrammarCompiler(one.vocabulary, trie=one.trie)
    assert other.trie is one.trie
    assert other.arena is not one.arena
    size = one.vocabulary.size
    for pattern in ("[ab]*1", "(?:a|é)+"):
        assert allowed(regex_matcher(pattern, one), size) == allowed(
            regex_matcher(pattern, other), size
        )


def test_what_grammars_of_json_share_is_learnt_with_the_vocabulary() -> None:
    tokens = [b"", *(bytes([byte]) for byte in range(256)), b'"a', b'a"', b'": ', b"12"]
    compiler = GrammarCompiler(Vocabulary(tokens, [0], [0]))
    rows = compiler._rows
    known = {node for node, _ in rows._inner}
    grammar = compiler.compile(GrammarSpec.json_schema({"type": "string"}))
    matcher = grammar.matcher()
    assert matcher.accept_bytes(b'"a')
    assert {node for node, _ in matcher._place.config.threads} <= known
    assert len(compiler._by_content) == 1  # the grammar that was learnt from is nobody's


def test_grammars_that_come_once_each_do_not_add_up() -> None:
    """Neither they nor the states and rows that were theirs, though the arena is far from full."""
    one = GrammarCompiler(vocabulary("ab", "01", letters="abcdefgh0123"), kept_bytes=20 * 65 << 10)
    words = itertools.product("abcdefgh", repeat=4)

    def ask(count: int) -> tuple[int, int]:
        most = 0
        for word in itertools.islice(words, count):
            matcher = regex_matcher(f"{''.join(word)}[0-3]{{2}}", one)
            for char in (*word, "0", "1"):
                assert allowed(matcher, one.vocabulary.size)
                assert matcher.accept_bytes(char.encode())
            most = max(most, len(one.arena))
        gc.collect()
        return most, tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        nodes, before = ask(300)
        later, after = ask(700)
    finally:
        tracemalloc.stop()
    assert len(one._by_content) < 25
    assert one.arena.generation > 10
    assert later < 1.3 * nodes < one.arena.full / 10
    assert after < 1.2 * before

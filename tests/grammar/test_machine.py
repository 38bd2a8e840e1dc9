"""Configurations against the literal reading of the IR (`ir_oracle`)."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given, settings, strategies as st

from espalier.errors import GrammarError, InvariantError
from espalier.grammar import Matcher, ir
from espalier.grammar.machine import Config, Kont
from tests.grammar.ir_oracle import Oracle

from .machine_tools import accepted, allowed, finish, random_walk, rich_compiler

COMPILER = rich_compiler()
VOCABULARY = COMPILER.vocabulary
SIZE = VOCABULARY.size

_A = ((97, 97),)
_AB = ((97, 98),)
TERMS = st.sampled_from(
    [
        ir.Lit("a"), ir.Lit("b"), ir.Lit("ab"), ir.Lit("1"), ir.Lit("é"), ir.Lit(""),
        ir.Chars(_AB), ir.Rep(ir.Lit("a"), 0, None), ir.Rep(ir.Chars(_AB), 1, 3),
        ir.Alt((ir.Lit("a"), ir.Lit("aa"), ir.Lit("b1"))),
        ir.And((ir.Rep(ir.Chars(_AB), 0, 4), ir.Not(ir.Lit("a")))),
        ir.And((ir.Rep(ir.Lit("aa"), 0, None), ir.Rep(ir.Lit("aaa"), 0, None))),
    ]
)  # fmt: skip
NAMES = ["start", "one", "two"]


def _extend(inner: st.SearchStrategy[ir.Expr]) -> st.SearchStrategy[ir.Expr]:
    parts = st.lists(inner, min_size=1, max_size=3).map(tuple)
    bounds = st.sampled_from([(0, None), (1, None), (0, 1), (2, 2), (0, 30), (1, 3), (0, 0)])
    return st.one_of(
        parts.map(ir.Seq),
        parts.map(ir.Choice),
        st.tuples(inner, bounds).map(lambda t: ir.Loop(t[0], *t[1])),
    )


EXPRS = st.recursive(
    st.one_of(TERMS.map(ir.Term), TERMS.map(ir.Term), st.sampled_from(NAMES).map(ir.Ref)),
    _extend,
    max_leaves=6,
)
GRAMMARS = st.tuples(EXPRS, EXPRS, EXPRS).map(
    lambda bodies: ir.GrammarIR(dict(zip(NAMES, bodies, strict=True)))
)


def _may_fail(grammar: ir.GrammarIR) -> Matcher:
    try:
        made = COMPILER.load(grammar)
    except GrammarError:
        assume(False)
        raise
    # The oracle needs exponential time for some left recursion; test_left_recursion.py has its own.
    assume(made.machine.program.facts.grammar is grammar)
    return made.matcher()


@settings(max_examples=150, deadline=None)
@given(GRAMMARS, st.integers(0, 10**6))
def test_accepts_what_the_grammar_says(grammar: ir.GrammarIR, seed: int) -> None:
    matcher = _may_fail(grammar)
    oracle = Oracle(grammar)
    draw = random.Random(seed)
    sample = oracle.sample(seed, size=3)
    texts = ["", sample or "", *("".join(draw.choices("ab1é", k=n)) for n in (1, 2, 3, 5, 7))]
    for text in texts:
        if len(text) > 24:
            continue
        trial = matcher.copy()
        taken = all(trial.accept_bytes(bytes([byte])) for byte in text.encode())
        assert (taken and trial.can_end) == oracle.accepts(text), text
    _check_machine(grammar)


def _check_machine(grammar: ir.GrammarIR) -> None:
    COMPILER.load(grammar).machine.check_invariants()


@settings(max_examples=100, deadline=None)
@given(GRAMMARS, st.integers(0, 10**6))
def test_masks_of_grammars(grammar: ir.GrammarIR, seed: int) -> None:
    matcher = _may_fail(grammar)
    tokens, _ = random_walk(matcher, SIZE, 0, seed, limit=5)
    for token in [None, *tokens]:
        if token is not None:
            assert matcher.accept(token)
        assert allowed(matcher, SIZE) == accepted(matcher, SIZE)
    tokens += finish(matcher, SIZE)
    text = b"".join(VOCABULARY.tokens[token] for token in tokens).decode()
    if len(text) <= 30:
        assert Oracle(grammar).accepts(text)


@settings(max_examples=100, deadline=None)
@given(GRAMMARS)
def test_refuses_exactly_what_matches_nothing(grammar: ir.GrammarIR) -> None:
    oracle = Oracle(grammar)
    try:
        matcher = COMPILER.load(grammar).matcher()
    except GrammarError as error:
        assert "nothing matches" in str(error)  # noqa: PT017
        assert error.where in NAMES  # noqa: PT017
        short = ["", "a", "b", "ab", "1", "é", "aa", "b1", "ba", "aab", "bb"]
        assert not any(oracle.accepts(text) for text in short)
        return
    text = b"".join(VOCABULARY.tokens[token] for token in finish(matcher, SIZE)).decode()
    if len(text) <= 40 and matcher._grammar.machine.program.facts.grammar is grammar:
        assert oracle.accepts(text)


def _rule(*bodies: ir.Expr) -> ir.GrammarIR:
    return ir.GrammarIR(dict(zip(NAMES, bodies, strict=False)))


def _lit(text: str) -> ir.Term:
    return ir.Term(ir.Lit(text))


def test_right_recursion_keeps_the_stack_flat() -> None:
    grammar = COMPILER.load(_rule(ir.Choice((_lit("b"), ir.Seq((_lit("a"), ir.Ref("start")))))))
    matcher = grammar.matcher()
    seen = set()
    for _ in range(50):
        assert matcher.accept_bytes(b"a")
        seen.add(id(matcher._place.config))
    assert len(seen) == 1


def test_nesting_is_counted() -> None:
    nested = ir.Choice((_lit("1"), ir.Seq((_lit("a"), ir.Ref("start"), _lit("b")))))
    matcher = COMPILER.load(_rule(nested)).matcher()
    assert matcher.accept_bytes(b"a" * 3000 + b"1")
    assert matcher.distance() == 3000
    assert matcher.accept_bytes(b"b" * 2999)
    assert not matcher.can_end
    assert not matcher.copy().accept_bytes(b"bb")
    assert matcher.accept_bytes(b"b")
    assert matcher.must_end


def test_loops_keep_their_counts() -> None:
    pair = ir.Seq((_lit("a"), ir.Term(ir.Chars(_AB))))
    matcher = COMPILER.load(_rule(ir.Loop(pair, 150, 1000))).matcher()
    assert matcher.accept_bytes(b"ab" * 149)
    assert not matcher.can_end
    assert matcher.accept_bytes(b"ab")
    assert matcher.can_end
    assert matcher.accept_bytes(b"aa" * 850)
    assert matcher.must_end


def test_too_many_readings_are_an_error_of_this_request() -> None:
    # Every alternative begins alike and goes on differently: one thread for each.
    many = ir.Choice(
        tuple(
            ir.Seq((ir.Term(ir.Rep(ir.Lit("a"), n, None)), _lit("b" * (n % 97 + 1) + "1")))
            for n in range(1, 4200)
        )
    )
    with pytest.raises(GrammarError, match="ambiguous"):
        COMPILER.load(_rule(many))


def test_invariants_are_checked() -> None:
    machine = COMPILER.load(_rule(ir.Seq((_lit("ab"), _lit("1"))))).machine
    machine.check_invariants()
    (node, kont), *_ = machine.start.threads

    def broken(config: Config | None, name: str) -> None:
        configs, konts = dict(machine._configs), dict(machine._konts)
        if config is not None:
            machine._configs["broken"] = config
        with pytest.raises(InvariantError, match=rf"^{name}"):
            machine.check_invariants()
        machine._configs, machine._konts = configs, konts

    broken(Config((), False), "M1")
    broken(Config(((machine.arena.empty, kont),), False), "M2")
    broken(Config(((node, kont), (node, machine.end)), False), "M3")
    lost = Kont(99, ((machine.program.start, machine.end),), False, 10)
    lost.alternatives = ()
    machine._konts["broken"] = lost
    broken(None, "M4")
    machine._konts.pop("broken", None)
    machine.check_invariants()

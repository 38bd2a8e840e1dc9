"""Withholding: with a budget of at least the start's distance, every drawing completes in time."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given, settings, strategies as st

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, Matcher, ir
from espalier.grammar.distance import tokens

from .machine_tools import REGEXES, RICH, allowed, regex_matcher, rich_compiler, vocabulary
from .test_machine import GRAMMARS

COMPILER = rich_compiler()
SIZE = COMPILER.vocabulary.size


def _draw_within(matcher: Matcher, budget: int, seed: int) -> int:
    """Draws from the masks with the budget counted down; the tokens it took."""
    draw = random.Random(seed)
    for remaining in range(budget, 0, -1):
        assert matcher.distance() <= remaining
        mask = sorted(allowed(matcher, SIZE, remaining) - {0})
        if not mask:
            assert matcher.can_end
            return budget - remaining
        whole = allowed(matcher, SIZE)
        assert whole.issuperset(mask)
        token = draw.choice(mask)
        assert matcher.accept(token)
    assert matcher.can_end, "the budget ran out before the end"
    return budget


@settings(max_examples=150, deadline=None)
@given(REGEXES, st.integers(0, 9), st.integers(0, 10**6))
def test_regexes_complete_in_time(pattern: str, more: int, seed: int) -> None:
    matcher = regex_matcher(pattern, COMPILER)
    _draw_within(matcher, matcher.distance() + more, seed)


@settings(max_examples=150, deadline=None)
@given(GRAMMARS, st.integers(0, 9), st.integers(0, 10**6))
def test_grammars_complete_in_time(grammar: ir.GrammarIR, more: int, seed: int) -> None:
    try:
        matcher = COMPILER.load(grammar).matcher()
    except GrammarError:
        assume(False)
        raise
    _draw_within(matcher, matcher.distance() + more, seed)


@settings(max_examples=80, deadline=None)
@given(st.one_of(REGEXES), st.integers(0, 10**6), st.integers(1, 30))
def test_withheld_is_exactly_what_cannot_be_completed(pattern: str, seed: int, left: int) -> None:
    """Against the definition: a token stays if its successor's distance fits."""
    matcher = regex_matcher(pattern, COMPILER)
    draw = random.Random(seed)
    for _ in range(draw.randrange(6)):
        matcher.accept(draw.choice(sorted(allowed(matcher, SIZE))))
    if matcher.is_terminated:
        return
    after: dict[int, int] = {}
    for token in allowed(matcher, SIZE) - {0}:
        trial = matcher.copy()
        assert trial.accept(token)
        after[token] = trial.distance()
    expected = {token for token, far in after.items() if far <= left - 1}
    if not expected and not matcher.can_end and after:
        expected = {token for token, far in after.items() if far == min(after.values())}
    assert allowed(matcher, SIZE, left) - {0} == expected


def test_a_budget_below_the_start_still_shortens() -> None:
    matcher = regex_matcher("[ab]{30,}1", COMPILER)
    assert matcher.distance() > 3
    for remaining in (3, 2, 1, 0):
        before = matcher.distance()
        mask = allowed(matcher, SIZE, remaining)
        assert mask
        assert matcher.accept(min(mask))
        assert matcher.distance() < before


def test_long_repetitions_are_counted_in_blocks() -> None:
    matcher = regex_matcher("a{100000}", COMPILER)
    far = matcher.distance()
    assert 100000 / 3 <= far <= 100000 / 2  # "aaa" is a token, and 64 is no multiple of 3
    token = COMPILER.vocabulary.tokens.index(b"aaa")
    for _ in range(100):
        assert matcher.accept(token)
        assert matcher.distance() <= far
        far = matcher.distance()


def test_the_end_is_the_only_way_when_nothing_fits() -> None:
    matcher = regex_matcher("a*(?:b1 ab1 ab1 a)?", COMPILER)
    assert 0 in allowed(matcher, SIZE, 1)
    b = COMPILER.vocabulary.tokens.index(b"b")
    assert b in allowed(matcher, SIZE)
    assert b not in allowed(matcher, SIZE, 2)
    assert allowed(matcher, SIZE, 0) == {0}


@settings(max_examples=40, deadline=None)
@given(REGEXES, st.integers(0, 10**6))
def test_some_token_always_lowers_the_distance_by_one(pattern: str, seed: int) -> None:
    compiler = GrammarCompiler(vocabulary(*RICH, letters="ab1 é漢"))
    matcher = regex_matcher(pattern, compiler)
    size = compiler.vocabulary.size
    for _ in range(4):
        if matcher.distance():
            mask = allowed(matcher, size)
            trials = [matcher.copy() for _ in mask]
            for trial, token in zip(trials, mask, strict=True):
                assert trial.accept(token)
            assert min(t.distance() for t in trials) <= matcher.distance() - 1
        mask = allowed(matcher, size) - {0}
        if not mask:
            return
        assert matcher.accept(random.Random(seed).choice(sorted(mask)))


def test_products_know_their_distance() -> None:
    any_text = ir.Rep(ir.Chars(((97, 98),)), 7, 9)
    both = ir.And((any_text, ir.Rep(ir.Lit("ab"), 0, None)))
    grammar = COMPILER.load(ir.GrammarIR({"start": ir.Term(both)}))
    assert grammar.matcher().distance() == 2  # abab abab
    node, _ = grammar.machine.start.threads[0]
    assert tokens(grammar.machine.arena, COMPILER.trie, node) == 2


@pytest.mark.parametrize("remaining", [1, 5, 10**6])
def test_a_terminated_matcher_offers_eos_alone(remaining: int) -> None:
    matcher = regex_matcher("a*", COMPILER)
    assert matcher.accept(0)
    assert allowed(matcher, SIZE, remaining) == {0}


@pytest.mark.parametrize("low", [10**6, 10**9, 10**15])
def test_an_end_further_than_any_budget_allows_no_other_tokens(low: int) -> None:
    """Distances beyond 32 bits are still distances, not tokens that the grammar forbids."""
    loop = ir.Loop(ir.Seq((ir.Term(ir.Lit("ab")), ir.Term(ir.Rep(ir.Lit("a"), 0, 1)))), low, None)
    matcher = rich_compiler().load(ir.GrammarIR({"start": loop}, "start")).matcher()
    for _ in range(6):
        near = allowed(matcher, SIZE, 100)
        assert near
        assert allowed(matcher, SIZE).issuperset(near)
        assert matcher.accept(min(near))

"""Counted products: one walk and one table give the rows that the products' own states give."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings, strategies as st

from espalier.grammar import counted, difference, ir, products
from espalier.grammar.arena import Arena
from espalier.grammar.derivatives import segments, step
from espalier.grammar.inner import Inner
from espalier.grammar.lower import lower
from espalier.grammar.node import Node
from espalier.grammar.products import Closure, TooLarge, can_be_closed, product_shape
from espalier.grammar.regex import regex_regular

from .test_counted import _exits, _rows, _tokens

ANY = '(?:[^"\\\\]|\\\\["a])'  # a string's character, some of two bytes
PATTERNS = st.sampled_from(
    ["a*", "(?:ab)*", "a{3}|b*1", "[ab]*a[ab]{2}", "(?:aa)*b?", ".*é", "a{2,5}", "(?:a|bb){0,9}",
     "(?:\\\\a)*", ".*", "(?:[^a]*a){2}", "a(?:-a){0,9}"]
)  # fmt: skip
NOTS = st.lists(st.sampled_from(["a", "aa|bb", "a*", ".*b", "ab.*"]), max_size=2)
COUNTS = st.tuples(st.integers(0, 7), st.one_of(st.none(), st.integers(0, 12)))


def _node(
    arena: Arena, pattern: str, nots: list[str], counts: tuple[int, int | None], frame: str
) -> Node:
    low, high = counts
    if high is not None and high < low:
        low, high = high, low
    turns = ir.Rep(regex_regular(ANY), low, high)
    members = (regex_regular(pattern), turns, *(ir.Not(regex_regular(n)) for n in nots))
    body: ir.Regular = ir.And(members)
    return lower(arena, ir.Cat((ir.Lit(frame[:1]), body, ir.Lit(frame[1:]))))


def _inner(node: Node, arena: Arena, *, special: bool) -> Inner:
    with pytest.MonkeyPatch.context() as patch:
        for module in (counted, products):
            patch.setattr(module, "FEWEST", 0 if special else 10**9)
            patch.setattr(counted, "WIDE", 1)
        if not special:
            assert product_shape(arena, node) is None
            patch.setattr(difference, "base", lambda arena, node: None)
        return _rows(arena).inner(node)


@settings(max_examples=250, deadline=None)
@given(
    PATTERNS, NOTS, COUNTS, st.sampled_from(['""', '"', "", 'a",']), st.text('ab"\\\\é', max_size=4)
)
@example("a{3}|b*1", [], (2, 3), '""', '"b')  # completed in exactly three turns, or one more
@example("(?:aa)*b?", ["a*"], (3, 8), '"', "")
@example("(?:\\\\a)*", [], (0, 2), '""', '"\\\\')  # in the middle of a turn
def test_counted_products_are_generic_rows(
    pattern: str, nots: list[str], counts: tuple[int, int | None], frame: str, text: str
) -> None:
    arena = Arena()
    node = _node(arena, pattern, nots, counts, frame)
    if node is arena.empty:
        return
    for byte in text.encode():
        after = step(arena, node, byte)
        node = node if after is arena.empty else after
    generic = _inner(node, arena, special=False)
    special = _inner(node, arena, special=True)
    assert _tokens(special) == _tokens(generic)
    assert _exits(special) == _exits(generic)
    assert special.tail >= generic.tail


def test_shapes() -> None:
    arena = Arena()
    any_text = ir.Rep(ir.Chars(((0, 0x10FFFF),)), 2, 99)
    node = lower(arena, ir.Cat((ir.Lit('"'), ir.And((regex_regular("(?:ab)*"), any_text)))))
    found = product_shape(arena, node)
    assert found is not None
    assert (found.loop.low, found.loop.high) == (2, 99)
    assert len(found.others) == 1
    assert can_be_closed(arena, found)
    for other in (
        ir.And((regex_regular("(?:a{20})*"), any_text)),  # counters that multiply
        ir.And((regex_regular("a*"), ir.Rep(ir.Chars(((97, 98),)), 0, 99))),  # narrow
        ir.Cat((ir.And((regex_regular("a*"), any_text)), ir.Lit("a"))),  # not told apart
        ir.And((regex_regular("a*"), ir.Rep(ir.Chars(((0, 0x10FFFF),)), 3000, None))),
    ):
        found = product_shape(arena, lower(arena, other))
        assert found is not None
        assert not can_be_closed(arena, found)
    few = ir.And((regex_regular("(?:ab)*"), ir.Rep(ir.Chars(((0, 0x10FFFF),)), 0, 3)))
    assert product_shape(arena, lower(arena, few)) is None


@settings(max_examples=100, deadline=None)
@given(PATTERNS, NOTS, st.integers(0, 3), st.integers(0, 60))
def test_a_bound_far_off_does_not_matter(
    pattern: str, nots: list[str], low: int, more: int
) -> None:
    arena = Arena()
    node = _node(arena, pattern, nots, (low, 10 + more), '""')
    if node is arena.empty:
        return
    rows = _rows(arena)
    assert _tokens(rows.inner(node)) == _tokens(_inner(node, arena, special=False))


def test_bounds_far_off_share_a_row() -> None:
    arena = Arena()
    rows = _rows(arena)
    nodes = [_node(arena, ".*é", [], (0, high), '"') for high in range(100, 110)]
    assert len({id(rows.inner(node)) for node in nodes}) == 1


def test_what_is_too_large_is_walked_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "STATES", 5)
    arena = Arena()
    rows = _rows(arena)
    node = lower(
        arena,
        ir.And((regex_regular("(?:abcdefgh)*"), ir.Rep(ir.Chars(((0, 0x10FFFF),)), 0, 9))),
    )
    assert product_shape(arena, node) is not None
    assert _tokens(rows.inner(node)) == _tokens(_inner(node, arena, special=False))
    assert len(rows._products) == 1  # it is not tried again


def test_endless_turns_are_too_large() -> None:
    arena = Arena()
    star = lower(arena, regex_regular("(?:a{70}b)*"))
    with pytest.raises(TooLarge):
        Closure(arena, star, star)


def test_table_of_fewest_bytes() -> None:
    """Of (aé|b)* restricted to whole turns of one character."""
    arena = Arena()
    star = lower(arena, ir.Rep(ir.Chars(((97, 98), (0xE9, 0xE9))), 0, None))
    pattern = lower(arena, regex_regular("(?:aé|b)*"))
    start = arena.conjunction([pattern, star])
    closure = Closure(arena, start, star)
    table = closure.fewest(4)
    assert table[:, 0].tolist() == [0, 1, 2, 3, 4]
    inside = step(arena, start, ord("a"))
    assert table[:, closure.index[inside]].tolist()[:3] == [products._FAR, 2, 3]
    half = step(arena, inside, 0xC3)
    assert table[:, closure.index[half]].tolist()[:3] == [1, 2, 3]
    assert segments(arena, half)

"""Terms of the arena against the literal reading of the IR, and their invariants."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings, strategies as st

from espalier.errors import GrammarError, InvariantError
from espalier.grammar import derivatives, ir
from espalier.grammar.arena import Arena
from espalier.grammar.counters import clamp
from espalier.grammar.lower import lower
from espalier.grammar.node import CHUNK, INFINITE, Node
from tests.grammar.ir_oracle import Oracle

AB = ((97, 98),)
ATOMS = st.sampled_from(
    [
        ir.Lit("a"), ir.Lit("b"), ir.Lit("ab"), ir.Lit(""), ir.Lit("é"), ir.Chars(AB),
        ir.Chars(((98, 98), (0xE8, 0xEA))), ir.Chars(()), ir.Chars(((0, 0x10FFFF),)),
        ir.Alt((ir.Lit("aa"), ir.Lit("ab"), ir.Lit("b"), ir.Lit("é"))),
    ]
)  # fmt: skip
COUNTS = st.sampled_from([(0, None), (1, None), (0, 1), (2, 3), (0, 9), (4, 4), (2, None)])


def _extend(inner: st.SearchStrategy[ir.Regular]) -> st.SearchStrategy[ir.Regular]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        several.map(ir.Cat),
        several.map(ir.Alt),
        several.map(ir.And),
        inner.map(ir.Not),
        st.tuples(inner, COUNTS).map(lambda t: ir.Rep(t[0], *t[1])),
    )


REGULARS = st.recursive(ATOMS, _extend, max_leaves=8)
TEXTS = st.lists(st.text(alphabet="abé", max_size=7), min_size=1, max_size=6)
SHORT = ["", "a", "b", "é", "aa", "ab", "ba", "bb", "aé", "éa", "aaa", "aba", "bab"]


@settings(max_examples=400, deadline=None)
@given(REGULARS, TEXTS)
@example(ir.And((ir.Rep(ir.Lit("aa"), 0, None), ir.Rep(ir.Lit("aaa"), 1, 2))), ["aaaaaa", "aa"])
@example(ir.Rep(ir.Alt((ir.Lit("a"), ir.Lit("aa"))), 2, 9), ["a" * n for n in (1, 2, 18, 19)])
def test_terms_mean_what_the_ir_means(term: ir.Regular, texts: list[str]) -> None:
    arena = Arena()
    node = lower(arena, term)
    oracle = Oracle(term)
    for text in texts:
        assert derivatives.matches(arena, node, text.encode()) == oracle.accepts(text)
    arena.check_invariants()


@settings(max_examples=300, deadline=None)
@given(REGULARS)
def test_empty_terms_are_known_and_shortest_strings_are_right(term: ir.Regular) -> None:
    arena = Arena()
    node = lower(arena, term)
    oracle = Oracle(term)
    if node is arena.empty:
        assert not any(oracle.accepts(text) for text in SHORT)
        return
    text = derivatives.shortest(arena, node)
    assert len(text) == node.shortest
    assert oracle.accepts(text.decode())
    for other in SHORT:
        if oracle.accepts(other):
            assert (len(text), text) <= (len(other.encode()), other.encode())


@settings(max_examples=300, deadline=None)
@given(REGULARS, st.text(alphabet="abé", max_size=5))
def test_segments_and_steps_agree(term: ir.Regular, text: str) -> None:
    """One by structure, one by ranges; made in separate arenas, since segments serve steps."""
    by_step, by_segment = Arena(), Arena()
    node, twin = lower(by_step, term), lower(by_segment, term)
    for byte in text.encode():
        parts = derivatives.segments(by_segment, twin)
        assert all(low <= high for low, high, _ in parts)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(parts))
        assert all(rest is not by_segment.empty for _, _, rest in parts)
        node = derivatives.step(by_step, node, byte)
        twin = next((rest for low, high, rest in parts if low <= byte <= high), by_segment.empty)
        assert node.nullable == twin.nullable
        assert (node is by_step.empty) == (twin is by_segment.empty)
        assert node.shortest == twin.shortest


@settings(max_examples=200, deadline=None)
@given(REGULARS, TEXTS)
def test_nonempty(term: ir.Regular, texts: list[str]) -> None:
    arena = Arena()
    node = lower(arena, term)
    rest = derivatives.nonempty(arena, node)
    assert not rest.nullable
    for text in texts:
        expected = bool(text) and derivatives.matches(arena, node, text.encode())
        assert derivatives.matches(arena, rest, text.encode()) == expected


@settings(max_examples=200, deadline=None)
@given(REGULARS, st.text(alphabet="abé", max_size=4), st.integers(1, 3))
def test_clamped_terms_agree_for_a_token(term: ir.Regular, text: str, longest: int) -> None:
    """Up to `longest` bytes on, a term with its counters cut is alive and ends where it did."""
    arena = Arena()
    node = lower(arena, term)
    for byte in text.encode():
        node = derivatives.step(arena, node, byte)
    cut = clamp(arena, node, longest + 1)
    states = [(node, cut)]
    for _ in range(longest):
        states = [
            (derivatives.step(arena, one, byte), derivatives.step(arena, other, byte))
            for one, other in states
            for byte in b"ab\xc3\xa9"
        ]
        for one, other in states:
            assert one.nullable == other.nullable
            assert (one is arena.empty) == (other is arena.empty)


def test_equal_residuals_are_one_node() -> None:
    arena = Arena()
    star = lower(arena, ir.Rep(ir.Alt((ir.Lit("ab"), ir.Lit("b"))), 0, None))
    seen = {star}
    state = star
    for byte in b"abbabbbab" * 20:
        state = derivatives.step(arena, state, byte)
        seen.add(state)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "term",
    [
        ir.Rep(ir.Rep(ir.Rep(ir.Lit("a"), 100, 100), 100, 100), 100, 100),
        ir.Rep(ir.Rep(ir.Lit("a"), 1, None), 1, None),
        ir.Cat((*[ir.Rep(ir.Lit("a"), 0, 1)] * 2000, ir.Lit("a" * 2000))),
        ir.Rep(ir.Alt((ir.Lit("a"), ir.Lit("aa"))), 0, 1000),
        ir.Cat(
            (ir.Rep(ir.Chars(AB), 0, None), ir.Lit("a"), ir.Rep(ir.Chars(AB), 300, 300))
        ),
        ir.Rep(ir.Cat((ir.Rep(ir.Chars(AB), 0, None), ir.Lit("a"))), 20, 20),
        ir.And(
            (ir.Rep(ir.Chars(AB), 0, 1000), ir.Not(ir.Rep(ir.Lit("ab"), 3, 900)))
        ),
    ],
)  # fmt: skip
def test_hostile_terms_stay_small(term: ir.Regular) -> None:
    arena = Arena(allowance=60_000)
    state = lower(arena, term)
    for byte in b"a" * 500:
        state = derivatives.step(arena, state, byte)
        assert state is not arena.empty


def test_a_piece_of_work_has_an_allowance() -> None:
    arena = Arena(allowance=50)
    term = ir.Alt(tuple(ir.Rep(ir.Lit(str(n)), n, n + 3) for n in range(2, 60)))
    with pytest.raises(GrammarError, match="too many automaton states"):
        lower(arena, term)
    arena.begin(1000)
    assert lower(arena, term).shortest == 2


@settings(max_examples=100, deadline=None)
@given(REGULARS, st.text(alphabet="abé", max_size=8), st.integers(0, 8))
def test_forgetting_loses_nothing(term: ir.Regular, text: str, when: int) -> None:
    arena, steady = Arena(full=0), Arena()
    node, other = lower(arena, term), lower(steady, term)
    for index, byte in enumerate(text.encode()):
        derivatives.segments(arena, node)
        if index == when:
            arena.begin()
            assert arena.generation == 1
        node = derivatives.step(arena, node, byte)
        other = derivatives.step(steady, other, byte)
        assert node.nullable == other.nullable
        assert (node is arena.empty) == (other is steady.empty)
    arena.check_invariants()


def test_long_literals_are_chunks() -> None:
    arena = Arena()
    text = bytes(range(1, 200))
    node = arena.literal(text)
    assert node.shortest == len(text)
    assert len(node.a.text) == CHUNK
    assert derivatives.matches(arena, node, text)
    assert not derivatives.matches(arena, node, text[:-1])


def test_big_word_tables() -> None:
    arena = Arena()
    words = [b"word%05d" % number for number in range(20_000)]
    node = arena.words(words)
    assert derivatives.matches(arena, node, words[777])
    assert not derivatives.matches(arena, node, b"word2")
    assert len(arena) < 40
    assert arena.words([]) is arena.empty
    assert derivatives.shortest(arena, node) == words[0]


def test_what_cannot_be_decided_is_an_error_and_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivatives, "SEARCH_LIMIT", 3)
    arena = Arena()
    both = (ir.Rep(ir.Lit("aa"), 50, 50), ir.Rep(ir.Lit("aaaaa"), 20, 20))
    with pytest.raises(GrammarError, match="among 3 states"):
        lower(arena, ir.And(both))


def test_parts_that_exclude_each_other_are_found_among_many_states() -> None:
    """Sixty-three by 600 states fit the name and its length; that no name fits takes two parts."""
    arena = Arena()
    letters = ir.Chars(((97, 122),))
    label = ir.Cat((letters, ir.Rep(letters, 0, 62)))
    names = ir.Cat((label, ir.Rep(ir.Cat((ir.Lit("."), label)), 0, None)))
    inside = ir.Rep(ir.Chars(((46, 46), (97, 122))), 1, 600)
    other = ir.Not(ir.Rep(ir.Chars(((46, 46), (97, 122))), 0, None))
    assert lower(arena, ir.And((names, inside, other))) is arena.empty


def _periods(done: int) -> ir.Regular:
    """What remains of a's in number a multiple of 13 and of 17, above 0, after `done` of them."""
    parts = (
        ir.Cat((ir.Lit("a" * (-done % n)), ir.Rep(ir.Lit("a" * n), 0, None))) for n in (13, 17)
    )
    return ir.And((*parts, ir.Rep(ir.Lit("a"), 1, None)))


def test_whether_the_limit_is_met_does_not_hang_on_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decided(arena: Arena, done: int) -> bool:
        try:
            return lower(arena, _periods(done)) is not arena.empty
        except GrammarError:
            return False

    monkeypatch.setattr(derivatives, "SEARCH_LIMIT", 100)
    alone = [decided(Arena(), done) for done in range(1, 221, 9)]
    assert alone == [221 - done <= 100 for done in range(1, 221, 9)]
    shared = Arena()
    backwards = [decided(shared, done) for done in reversed(range(1, 221, 9))]
    assert backwards[::-1] == alone
    assert [decided(shared, done) for done in range(1, 221, 9)] == alone


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (ir.Lit("\ud800"), "lone surrogate"),
        (ir.Alt((ir.Lit("\ud800"), ir.Lit("a"))), "lone surrogate"),
        (ir.Rep(ir.Lit("a"), 3, 2), "0 <= low <= high"),
        (ir.Rep(ir.Lit("a"), -1, 2), "0 <= low <= high"),
    ],
)
def test_terms_that_cannot_be(term: ir.Regular, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        lower(Arena(), term)


def test_nesting_is_bounded() -> None:
    term: ir.Regular = ir.Lit("a")
    for _ in range(300):
        term = ir.Cat((term, ir.Rep(ir.Lit("b"), 0, 2)))
    with pytest.raises(GrammarError, match="nested more than"):
        lower(Arena(), term)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 0x10FFFF), (0x7F, 0x80), (0x7FF, 0x800), (0xD7FF, 0xE000), (0xFFFF, 0x10000),
     (0x400, 0x12345), (0xD800, 0xDFFF), (0x10FFFF, 0x10FFFF)],
)  # fmt: skip
def test_code_points_become_utf8(low: int, high: int) -> None:
    arena = Arena()
    node = lower(arena, ir.Chars(((low, high),)))
    near = {p + d for p in (low, high, 0x80, 0x800, 0xD800, 0xE000, 0x10000) for d in (-1, 0, 1)}
    for point in near:
        if 0 <= point <= 0x10FFFF:
            text = chr(point).encode("utf-8", "surrogatepass")
            expected = low <= point <= high and not 0xD800 <= point <= 0xDFFF
            assert derivatives.matches(arena, node, text) == expected, hex(point)
    for wrong in (b"\xc0\x80", b"\xff", b"\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80"):
        assert not derivatives.matches(arena, node, wrong)


def test_without_the_whole_alphabet() -> None:
    arena = Arena(frozenset(b"ab"))
    assert lower(arena, ir.Lit("é")).shortest >= INFINITE
    assert lower(arena, ir.Rep(ir.Lit("é"), 0, None)).shortest == 0
    either = lower(arena, ir.Alt((ir.Lit("é"), ir.Lit("bb"), ir.Lit("aab"))))
    assert either.shortest == 2
    assert derivatives.shortest(arena, either) == b"bb"
    assert lower(arena, ir.Chars(((98, 0x3FF),))).shortest == 1
    assert lower(arena, ir.And((ir.Rep(ir.Chars(AB), 1, 1), ir.Not(ir.Lit("a"))))).shortest == 1
    nothing = ir.And((ir.Rep(ir.Chars(((0x100, 0x200),)), 1, 3), ir.Not(ir.Lit("Ā"))))
    assert lower(arena, nothing) is arena.empty


def test_invariants_are_checked() -> None:
    def fresh() -> tuple[Arena, Node, Node]:
        arena = Arena()
        cat = lower(arena, ir.Cat((ir.Rep(ir.Lit("a"), 1, 5), ir.Chars(((98, 98), (233, 240))))))
        alt = arena.alt([cat, arena.rep(arena.literal(b"b"), 1, 7)])
        arena.check_invariants()
        return arena, cat, alt

    arena, cat, alt = fresh()
    cat.b = alt
    with pytest.raises(InvariantError, match=r"^A1"):
        arena.check_invariants()
    arena, cat, _ = fresh()
    cat.a = arena.epsilon
    with pytest.raises(InvariantError, match=r"^A2"):
        arena.check_invariants()
    arena, _, alt = fresh()
    alt.items = alt.items[::-1]
    with pytest.raises(InvariantError, match=r"^A3"):
        arena.check_invariants()
    arena, cat, _ = fresh()
    cat.nullable = True
    with pytest.raises(InvariantError, match=r"^A4"):
        arena.check_invariants()
    arena, cat, _ = fresh()
    cat.b.segments = ((1, 2, arena.empty),)
    with pytest.raises(InvariantError, match=r"^A5"):
        arena.check_invariants()

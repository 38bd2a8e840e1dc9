"""Left recursion removed: the same language, and no rule that calls itself on the left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from espalier.grammar import GrammarCompiler, Vocabulary, ir
from espalier.grammar.arena import Arena
from espalier.grammar.facts import Facts
from espalier.grammar.program import Program


def _lit(text: str) -> ir.Term:
    return ir.Term(ir.Lit(text))


def _seq(*items: ir.Expr | str) -> ir.Seq:
    return ir.Seq(tuple(_lit(i) if isinstance(i, str) else i for i in items))


S, A, B, C = (ir.Ref(name) for name in ("start", "a", "b", "c"))
OR = ir.Choice
EMPTY = ir.Seq(())
GRAMMARS: dict[str, dict[str, ir.Expr]] = {
    "direct": {"start": OR((_lit("1"), _seq(S, "+", "1")))},
    "ambiguous": {"start": OR((_lit("1"), _seq(S, S)))},
    "both sides": {"start": OR((_lit("1"), _seq(S, "+", S), _seq("(", S, ")")))},
    "mutual": {"start": OR((_lit("1"), _seq(A, "+"))), "a": OR((_seq(S, "("), _lit(")")))},
    "three": {
        "start": OR((_seq(A, "1"), _lit("+"))),
        "a": OR((_seq(B, "("), _seq(S, ")"))),
        "b": OR((_seq(S, "+"), _seq(A, A), _lit("("))),
    },
    "behind nothing": {
        "start": _seq(ir.Loop(_lit("+"), 0, None), A),
        "a": OR((_seq(S, "1"), EMPTY)),
    },
    "empty itself": {"start": OR((EMPTY, _seq(S, "1"), _seq(S, S, "+")))},
    "empty cycle": {"start": OR((A, _lit("1"))), "a": OR((S, _seq(A, "+"), EMPTY))},
    "in a loop": {"start": ir.Loop(OR((_seq(S, "+"), _lit("1"))), 1, 3)},
    "in a counted loop": {
        "start": OR((_lit("1"), _seq(ir.Loop(S, 0, 2), ir.Loop(_lit("+"), 1, 2)))),
    },
    "empty terminals": {
        "start": _seq(ir.Term(ir.Rep(ir.Lit("+"), 0, 2)), A),
        "a": OR((_seq(S, "1"), ir.Term(ir.Rep(ir.Lit("("), 0, 1)))),
    },
    "nothing but itself": {"start": OR((_lit("1"), A)), "a": OR((A, _seq(A, "+")))},
    "empty rule called first": {
        "start": _seq(A, B),
        "a": ir.Loop(_lit("+"), 0, 1),
        "b": OR((_lit("1"), _seq(A, B, "("), _seq(S, ")"))),
    },
}  # fmt: skip
VOCABULARY = Vocabulary([b"", *(bytes([b]) for b in b"1+()"), b"1+", b")1", b"(("], [0], [0])


def _all_texts(length: int) -> list[str]:
    texts = [""]
    for text in texts:
        if len(text) < length:
            texts += [text + char for char in "1+()"]
    return texts


def _language(rules: dict[str, ir.Expr], length: int) -> set[str]:
    """The start rule's texts of up to `length` characters, from below: sets that grow together."""
    known: dict[str, set[str]] = {name: set() for name in rules}

    def texts(expr: ir.Expr) -> set[str]:
        if isinstance(expr, ir.Term):
            regular = expr.regular
            if isinstance(regular, ir.Rep) and isinstance(regular.item, ir.Lit):
                return {regular.item.text * n for n in range(regular.low, (regular.high or 0) + 1)}
            assert isinstance(regular, ir.Lit)
            return {regular.text}
        if isinstance(expr, ir.Ref):
            return known[expr.rule]
        if isinstance(expr, ir.Choice):
            return set().union(*(texts(item) for item in expr.items))
        if isinstance(expr, ir.Seq):
            return joined([texts(item) for item in expr.items])
        turn = texts(expr.item)
        most = length if expr.high is None else expr.high
        return set().union(*(joined([turn] * n) for n in range(expr.low, most + 1)))

    def joined(parts: list[set[str]]) -> set[str]:
        found = {""}
        for part in parts:
            found = {a + b for a in found for b in part if len(a + b) <= length}
        return found

    while True:
        before = {name: len(found) for name, found in known.items()}
        for name, rule in rules.items():
            known[name] |= {text for text in texts(rule) if len(text) <= length}
        if before == {name: len(found) for name, found in known.items()}:
            return known["start"]


@pytest.mark.parametrize("name", GRAMMARS)
def test_the_language_stays(name: str) -> None:
    grammar = ir.GrammarIR(GRAMMARS[name])
    language = _language(GRAMMARS[name], 5)
    made = GrammarCompiler(VOCABULARY).load(grammar)
    assert made.machine.program.facts.left_cycles() == []
    for text in _all_texts(5):
        matcher = made.matcher()
        taken = matcher.accept_bytes(text.encode()) and matcher.can_end
        assert taken == (text in language), text
    made.machine.check_invariants()


_PARTS = st.one_of(
    st.sampled_from([_lit("1"), _lit("+"), EMPTY, ir.Term(ir.Rep(ir.Lit("("), 0, 1))]),
    st.sampled_from([S, A, B, C]),
)
_BODIES = st.lists(st.lists(_PARTS, max_size=3).map(tuple).map(ir.Seq), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.lists(_BODIES, min_size=4, max_size=4))
def test_drawn_grammars_keep_their_language(bodies: list[list[ir.Seq]]) -> None:
    rules: dict[str, ir.Expr] = {
        name: OR(tuple(body)) for name, body in zip(["start", "a", "b", "c"], bodies, strict=True)
    }
    rules["start"] = OR((rules["start"], _lit("1+")))  # so that something matches
    grammar = ir.GrammarIR(rules)
    language = _language(rules, 3)
    made = GrammarCompiler(VOCABULARY).load(grammar)
    for text in _all_texts(3):
        matcher = made.matcher()
        taken = matcher.accept_bytes(text.encode()) and matcher.can_end
        assert taken == (text in language), text


def test_long_texts_do_not_pile_up() -> None:
    """Ambiguity in the middle of a long text: stacks that say the same are one stack."""
    for name in ("direct", "ambiguous", "both sides"):
        matcher = GrammarCompiler(VOCABULARY).load(ir.GrammarIR(GRAMMARS[name])).matcher()
        text = b"1" * 300 if name == "ambiguous" else b"1" + b"+1" * 300
        for byte in text:
            assert matcher.accept_bytes(bytes([byte]))
        assert matcher.can_end
        assert len(matcher._place.config.threads) <= 4


def test_other_rules_are_left_alone() -> None:
    grammar = ir.GrammarIR(
        {"start": _seq(A, B), "a": OR((_lit("1"), _seq(A, "+"))), "b": _seq("(", B, ")")}
    )
    facts = Facts(Arena(), ir.GrammarIR({**grammar.rules, "b": _lit(")")}))
    assert facts.left_cycles() == [["a"]]
    program = Program(Arena(), ir.GrammarIR({**grammar.rules, "b": OR((_lit(")"), B))}))
    assert program.start.nearest == 2

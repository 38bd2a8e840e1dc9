"""Expressions: what is pruned, what is refused and where, and what a loop has left."""

from __future__ import annotations

import pytest

from espalier.errors import GrammarError
from espalier.grammar import ir
from espalier.grammar.arena import Arena
from espalier.grammar.program import LOOP, NIL, SEQ, Program


def _lit(text: str) -> ir.Term:
    return ir.Term(ir.Lit(text))


NOTHING = ir.Term(ir.And((ir.Lit("a"), ir.Lit("b"))))


def _program(start: str = "start", /, **rules: ir.Expr) -> Program:
    return Program(Arena(), ir.GrammarIR(rules, start))


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        ({"start": NOTHING}, "start"),
        ({"start": ir.Choice(())}, "start"),
        ({"start": ir.Seq((_lit("a"), ir.Ref("inner"))), "inner": NOTHING}, "inner"),
        ({"start": ir.Loop(ir.Ref("inner"), 1, None), "inner": NOTHING}, "inner"),
        (
            {"start": ir.Choice((ir.Ref("one"), ir.Ref("two"))), "one": NOTHING, "two": NOTHING},
            "one",
        ),
        ({"start": ir.Seq((_lit("a"), ir.Ref("start")))}, "start"),
        (
            {
                "start": ir.Seq((_lit("{"), ir.Ref("/properties/a"))),
                "/properties/a": ir.Choice((ir.Seq((_lit("["), ir.Ref("start"))), NOTHING)),
            },
            "start",
        ),
    ],
)
def test_what_matches_nothing_is_refused_by_name(rules: dict[str, ir.Expr], where: str) -> None:
    with pytest.raises(GrammarError, match="nothing matches") as caught:
        _program(**rules)
    assert caught.value.where == where


def test_what_cannot_be_is_pruned() -> None:
    program = _program(
        start=ir.Seq((ir.Loop(NOTHING, 0, 5), ir.Choice((NOTHING, _lit("a"), ir.Ref("lost"))))),
        lost=ir.Seq((_lit("x"), ir.Ref("lost"))),
    )
    body = program.body(program.start.rule)
    assert body.node is program.arena.literal(b"a")


def test_a_call_behind_something_that_takes_bytes_is_no_cycle() -> None:
    program = _program(
        start=ir.Choice((_lit("a"), ir.Seq((_lit("["), ir.Ref("start"), ir.Ref("start")))))
    )
    assert program.start.nearest == 1
    assert program.facts.left_cycles() == []


def test_missing_rules() -> None:
    with pytest.raises(GrammarError, match="'other' is missing"):
        _program(start=ir.Ref("other"))
    with pytest.raises(GrammarError, match="'begin' is missing"):
        _program("begin", start=_lit("a"))


def test_loops_and_sequences_are_shared_and_flat() -> None:
    ab = ir.Seq((_lit("a"), ir.Loop(_lit("b"), 2, 4)))
    program = _program(start=ir.Seq((ir.Seq((ab, _lit("c"))), ab)))
    body = program.body(0)
    assert body.kind == SEQ
    assert body.head.node is program.arena.literal(b"a")
    loop = body.tail.head
    assert (loop.kind, loop.low, loop.high) == (LOOP, 2, 4)
    less = program.less(loop)
    assert (less.low, less.high) == (1, 3)
    last = program.less(program.less(less))
    assert (last.low, last.high) == (0, 1)
    assert program.less(last).kind == NIL
    assert program.loop(loop.head, 1, 1) is loop.head
    assert body.nearest == 1 + 2 + 1 + 1 + 2


def test_turns_of_a_loop_take_bytes() -> None:
    program = _program(start=ir.Loop(ir.Term(ir.Rep(ir.Lit("a"), 0, 3)), 5, 9))
    body = program.body(0)
    assert (body.low, body.nullable, body.head.nullable) == (0, True, True)
    assert body.head.node is not None
    assert not body.head.node.nullable


def test_bounds_and_nesting_are_checked() -> None:
    with pytest.raises(GrammarError, match="0 <= low <= high"):
        _program(start=ir.Loop(_lit("a"), 3, 2))
    deep: ir.Expr = _lit("a")
    for _ in range(200):
        deep = ir.Seq((deep, _lit("b")))
    with pytest.raises(GrammarError, match="nested more than"):
        _program(start=deep)


def test_ten_thousand_rules_in_the_worst_order() -> None:
    rules: dict[str, ir.Expr] = {
        f"r{n}": ir.Seq((_lit("a"), ir.Ref(f"r{n + 1}"))) for n in range(10_000)
    }
    rules["r10000"] = _lit("b")
    program = _program("r0", **rules)
    assert program.start.nearest == 10_001

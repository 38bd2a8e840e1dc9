"""Rules and alternatives that cannot end are struck out."""

from __future__ import annotations

import pytest

from espalier.errors import GrammarError, InvariantError
from espalier.grammar import ir
from espalier.grammar.json_prune import check_pruned, prune

A = ir.Term(ir.Lit("a"))
NEVER = ir.Choice(())
VOID = ir.Term(ir.Alt((ir.Chars(()), ir.Cat((ir.Lit("x"), ir.Alt(()))))))


def test_hopeless_alternatives_go_and_the_rest_stays() -> None:
    rules: dict[str, ir.Expr] = {
        "start": ir.Choice((ir.Ref("loop"), ir.Seq((A, ir.Ref("void"))), ir.Ref("good"))),
        "loop": ir.Seq((A, ir.Ref("loop"))),
        "void": VOID,
        "good": ir.Seq((A, ir.Loop(ir.Ref("loop"), 0, None), ir.Loop(A, 2, 3))),
        "unused": A,
    }
    found = prune(rules, {})
    assert found == {
        "start": ir.Ref("good"),
        "good": ir.Seq((A, ir.Seq(()), ir.Loop(A, 2, 3))),
    }
    check_pruned(found)


def test_recursion_that_can_end_is_kept() -> None:
    rules: dict[str, ir.Expr] = {
        "start": ir.Choice((A, ir.Seq((A, ir.Ref("start"))))),
    }
    assert prune(rules, {}) == rules


@pytest.mark.parametrize(
    "body",
    [
        NEVER,
        VOID,
        ir.Seq((A, NEVER)),
        ir.Loop(NEVER, 1, None),
        ir.Loop(A, 3, 2),
        ir.Ref("start"),
        ir.Term(ir.Rep(ir.Chars(()), 1, None)),
        ir.Term(ir.Rep(ir.Lit("a"), 2, 1)),
        ir.Term(ir.And((ir.Lit("a"), ir.Alt(())))),
    ],
    ids=str,
)
def test_hopeless_grammars_are_refused(body: ir.Expr) -> None:
    with pytest.raises(GrammarError) as caught:
        prune({"start": body}, {"start": "#/here"})
    assert caught.value.where == "#/here"


def test_the_innermost_rule_is_blamed() -> None:
    rules: dict[str, ir.Expr] = {
        "start": ir.Seq((ir.Ref("fine"), ir.Ref("outer"))),
        "fine": A,
        "outer": ir.Seq((A, ir.Ref("inner"))),
        "inner": NEVER,
    }
    with pytest.raises(GrammarError) as caught:
        prune(rules, {"inner": "#/in"})
    assert caught.value.where == "#/in"


@pytest.mark.parametrize(
    "rules",
    [
        {"start": A, "unused": A},
        {"start": ir.Choice((A, ir.Ref("dead"))), "dead": NEVER},
        {"start": NEVER},
    ],
    ids=str,
)
def test_invariant_1_is_checked(rules: dict[str, ir.Expr]) -> None:
    with pytest.raises(InvariantError, match=r"^1: "):
        check_pruned(rules)

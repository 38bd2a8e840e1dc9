"""The tree itself."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from espalier.errors import InvariantError
from espalier.frontend_lang.expr import (
    Expr,
    ExprList,
    Gen,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    Select,
    Text,
    as_expr,
    describe,
    flatten,
    join,
)
from espalier.frontend_lang.where import Where, caller

AT = Where("program.py", 3)


@given(st.lists(st.one_of(st.text(max_size=3), st.sampled_from(["gen", "role"])), max_size=10))
def test_any_sum_is_flat(parts: list[str]) -> None:
    exprs: list[Expr] = []
    for part in parts:
        if part == "gen":
            exprs.append(Gen(None, {}, AT))
        elif part == "role":
            exprs.append(join([RoleBegin("user", AT), RoleEnd("user", AT)]))
        else:
            exprs.append(Text(part, AT))
    made = join(exprs)
    made.check_invariants()
    assert "".join(p.text for p in made if isinstance(p, Text)) == "".join(
        p for p in parts if p not in ("gen", "role")
    )
    assert len(made) == len(flatten(made))


def test_broken_lists_are_caught() -> None:
    with pytest.raises(InvariantError, match="E1"):
        ExprList((ExprList(()),)).check_invariants()
    with pytest.raises(InvariantError, match="E1"):
        ExprList((Text("a", AT), Text("b", AT))).check_invariants()


def test_descriptions() -> None:
    assert describe(Gen("x", {}, AT)) == "gen('x')"
    assert describe(Select(None, ("a",), AT)) == "select(...)"
    assert describe(RoleBegin("user", AT)) == "user_begin()"
    assert describe(RoleEnd("user", AT)) == "user_end()"
    assert describe(ScopeBegin("x", AT)) == "var_scope('x')"
    assert "hello" in describe(Text("hello", AT))
    assert describe(ExprList(())) == "an expression"


def test_where_is_the_callers_line() -> None:
    here = caller()
    assert here.file == __file__
    assert as_expr("a").where == Where(__file__, here.line + 2)
    assert str(AT) == "program.py:3"

"""Arrays and objects that must count: one rule per state, made from a worklist.

The caller describes an automaton over items (or members): which may come next, what the state is
after each, and where the sequence may end. A state that an item leads back to becomes a loop, so
recursion in the rules is as deep as the counts are wide, never as long as the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from ..errors import GrammarError
from . import ir
from .json_text import Part, sequence

if TYPE_CHECKING:
    from .json_build import Builder

State = tuple[int, ...]
_MAX_STEPS = 50_000


class Automaton(Protocol):
    """start: the state before the first item. Steps lead from a state by one item to the next; the
    parts of an item that several steps take may be one object."""

    start: State

    def steps(self, state: State) -> Iterator[tuple[list[Part], State]]: ...

    def may_end(self, state: State) -> bool: ...


def states_expr(build: Builder, rule: str, brackets: str, automaton: Automaton) -> ir.Expr:
    """The texts of an automaton's sequences between two brackets, separated by commas."""
    layout = build.layout
    made: dict[State, ir.Ref] = {}
    written: dict[int, tuple[list[Part], ir.Expr]] = {}  # by id() of the parts
    todo: list[State] = []
    counted = 0

    def after(state: State) -> ir.Ref:
        if state not in made:
            made[state] = ir.Ref(f"{rule}@{'.'.join(map(str, state))}")
            todo.append(state)
        return made[state]

    def another(parts: list[Part]) -> ir.Expr:
        """An item behind another one; once for all the steps that take it."""
        found = written.get(id(parts))
        if found is None:
            found = written[id(parts)] = parts, sequence([layout.comma, *parts])
        return found[1]

    choices: list[ir.Expr] = [
        sequence([*parts, after(state), layout.space])
        for parts, state in automaton.steps(automaton.start)
    ]
    if automaton.may_end(automaton.start):
        choices.append(ir.Seq(()))
    while todo:
        state = todo.pop()
        loops: list[ir.Expr] = []
        further: list[ir.Expr] = []
        for parts, following in automaton.steps(state):
            counted += 1
            if counted > _MAX_STEPS:
                raise _too_many(rule)
            if following == state:
                loops.append(another(parts))
            else:
                further.append(_then(another(parts), after(following)))
        if automaton.may_end(state):
            further.append(ir.Seq(()))
        loop = loops[0] if len(loops) == 1 else ir.Choice(tuple(loops))
        again: list[Part] = [ir.Loop(loop, 0, None)] if loops else []
        build.define(made[state].rule, sequence([*again, ir.Choice(tuple(further))]))
    return sequence([*layout.opening(brackets[0]), ir.Choice(tuple(choices)), ir.Lit(brackets[1])])


def _then(expr: ir.Expr, rule: ir.Ref) -> ir.Expr:
    return ir.Seq((*expr.items, rule) if isinstance(expr, ir.Seq) else (expr, rule))


def _too_many(rule: str) -> GrammarError:
    return GrammarError(
        "an array or object with too many combinations of items",
        expected=f"at most {_MAX_STEPS:,}",
        where=rule,
        hint='Use property_order="declared", or loosen the counts',
    )

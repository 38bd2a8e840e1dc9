"""Left recursion removed: the machine enters a rule before it takes a byte, and would never return.

Rules that call each other on the left form a system `A = base | B coefficient | ...`, linear on the
left, which Gauss's elimination solves: `A = base | A c` is `base c*`. Empty texts are taken out
first (`A+` is `A` without the empty text), so that a call on the left always takes a byte.
New rules share what elimination would copy, so the grammar grows by a cubic number of small rules
per cycle at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .ir import And, Choice, Expr, GrammarIR, Lit, Loop, Not, Ref, Seq, Term

_NOTHING = Seq(())
_Rest = tuple[Expr, ...]


def remove_left_recursion(
    grammar: GrammarIR, cycles: list[list[str]], nullable: Callable[[Expr], bool]
) -> GrammarIR:
    """`grammar` with the rules of each cycle (strongly connected by calls on the left) rewritten.

    nullable: whether an expression of `grammar` may be empty.
    """
    return _Rewriting(grammar, nullable).run(cycles)


@dataclass
class _Row:
    """A rule as `base | column coefficient | ...`."""

    base: list[Expr]
    columns: dict[str, list[Expr]]


class _Rewriting:
    def __init__(self, grammar: GrammarIR, nullable: Callable[[Expr], bool]) -> None:
        self._grammar = grammar
        self._nullable = nullable
        self._rules = dict(grammar.rules)
        self._waiting: list[str] = []
        self._without: dict[str, str] = {}  # rule: its name without the empty text

    def run(self, cycles: list[list[str]]) -> GrammarIR:
        for cycle in cycles:
            rows = {name: self._row(name, set(cycle)) for name in cycle}
            self._eliminate(rows)
            for name in cycle:
                whole = Ref(self._name_without(name))
                self._rules[whole.rule] = _choice(rows[name].base)
                empty = self._nullable(Ref(name))
                self._rules[name] = Choice((_NOTHING, whole)) if empty else whole
        settled = {name for cycle in cycles for name in cycle}
        while self._waiting:
            name = self._waiting.pop()
            if name not in settled:
                ways = [_seq(head, *rest) for head, rest in self._ways(self._grammar.rules[name])]
                self._rules[self._without[name]] = _choice(ways)
        return GrammarIR(self._rules, self._grammar.start, self._grammar.dropped)

    # -- without the empty text --------------------------------------------------------------------

    def _ways(self, expr: Expr) -> list[tuple[Expr, _Rest]]:
        """`expr` without the empty text, as what it begins with (a terminal or a call, never empty)
        and what follows."""
        if isinstance(expr, Term):
            empty = self._nullable(expr)
            return [(Term(And((expr.regular, Not(Lit(""))))) if empty else expr, ())]
        if isinstance(expr, Ref):
            return [(Ref(self._name_without(expr.rule)), ())]
        if isinstance(expr, Choice):
            return [way for item in expr.items for way in self._ways(item)]
        if isinstance(expr, Loop):
            if expr.high == 0:
                return []
            high = None if expr.high is None else expr.high - 1
            low = 0 if self._nullable(expr.item) else max(expr.low - 1, 0)
            more = Loop(expr.item, low, high)
            return [(head, (*rest, more)) for head, rest in self._ways(expr.item)]
        found: list[tuple[Expr, _Rest]] = []
        for index, item in enumerate(expr.items):
            behind = expr.items[index + 1 :]
            found += [(head, (*rest, *behind)) for head, rest in self._ways(item)]
            if not self._nullable(item):
                break
        return found

    def _name_without(self, name: str) -> str:
        if name not in self._without:
            self._without[name] = self._fresh(f"{name}+")
            self._waiting.append(name)
        return self._without[name]

    def _fresh(self, name: str) -> str:
        while name in self._rules:
            name += "+"
        self._rules[name] = _NOTHING
        return name

    # -- elimination -------------------------------------------------------------------------------

    def _row(self, name: str, cycle: set[str]) -> _Row:
        row = _Row([], {})
        on_cycle = {self._name_without(member): member for member in cycle}
        for head, rest in self._ways(self._grammar.rules[name]):
            called = on_cycle.get(head.rule) if isinstance(head, Ref) else None
            if called is None:
                row.base.append(_seq(head, *rest))
            elif rest or called != name:  # A = A says nothing
                row.columns.setdefault(called, []).append(_seq(*rest))
        return row

    def _eliminate(self, rows: dict[str, _Row]) -> None:
        for name, row in rows.items():
            again = row.columns.pop(name, None)
            tail: _Rest = () if again is None else (Loop(_choice(again), 0, None),)
            base = self._shared(name, _seq(_choice(row.base), *tail))
            columns = {
                column: self._shared(name, _seq(_choice(coefficients), *tail))
                for column, coefficients in row.columns.items()
            }
            row.base = [base]
            row.columns = {column: [coefficient] for column, coefficient in columns.items()}
            for other, target in rows.items():
                through = target.columns.pop(name, None) if other != name else None
                if through is None:
                    continue
                after = _choice(through)
                target.base.append(_seq(base, after))
                for column, coefficient in columns.items():
                    target.columns.setdefault(column, []).append(_seq(coefficient, after))

    def _shared(self, name: str, expr: Expr) -> Expr:
        """A rule of its own for what is used in several places."""
        made = self._fresh(f"{name}+")
        self._rules[made] = expr
        return Ref(made)


def _seq(*items: Expr) -> Expr:
    flat = [part for item in items for part in (item.items if isinstance(item, Seq) else (item,))]
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def _choice(items: list[Expr]) -> Expr:
    return items[0] if len(items) == 1 else Choice(tuple(items))

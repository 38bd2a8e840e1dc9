"""What holds of a grammar's rules before it runs: what is empty, what may be nothing, who calls
whom before taking a byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ..errors import GrammarError
from . import ir
from .arena import Arena
from .lower import terminal
from .node import INFINITE, Node

MAX_DEPTH = 150  # expressions inside expressions
MAX_EXPRESSIONS = 50_000  # of one grammar: it is made ready between two steps of an engine
_Fact = TypeVar("_Fact")


class Facts:
    """Facts about `grammar`, its terms lowered into `arena`. Raises GrammarError where a rule is
    missing, a count is no count, or nothing matches the start rule (naming the rule to blame)."""

    def __init__(self, arena: Arena, grammar: ir.GrammarIR) -> None:
        self.arena = arena
        self.grammar = grammar
        self._terms: dict[int, Node] = {}  # by id() of the IR term, which the grammar keeps alive
        self._callers: dict[str, set[str]] = {name: set() for name in grammar.rules}
        self._nothing: dict[int, bool] = {}  # likewise
        self._size = 0
        if grammar.start not in grammar.rules:
            raise GrammarError(f"the start rule {grammar.start!r} is missing", where="grammar")
        for name, rule in grammar.rules.items():
            self._scan(name, rule, 0)
        self.nearest = self.measure(lambda node: node.shortest)
        if self.nearest[grammar.start] >= INFINITE:
            raise GrammarError(
                "nothing matches this grammar",
                where=self._blame(grammar.start),
                hint="Its requirements contradict each other, or it calls itself without an end.",
            )
        self.empty_rules = self._solve(self._nullable_of, False)

    def node(self, term: ir.Term) -> Node:
        """The node of one of the grammar's own terms."""
        return self._terms[id(term)]

    def nullable(self, expr: ir.Expr) -> bool:
        """Whether `expr`, of this grammar, may be the empty text."""
        return self._nullable_of(expr, self.empty_rules)

    def _scan(self, name: str, expr: ir.Expr, depth: int) -> None:
        """Lowers the terms of one rule and notes whom it calls."""
        if depth > MAX_DEPTH:
            raise GrammarError(f"a rule nested more than {MAX_DEPTH} deep", where=name)
        self._size += 1
        if self._size > MAX_EXPRESSIONS:
            raise GrammarError(
                expected=f"a grammar of at most {MAX_EXPRESSIONS:,} expressions",
                got="more",
                hint="Split it into several calls; optional properties and alternatives count most",
            )
        if isinstance(expr, ir.Term):
            self._terms[id(expr)] = self._lowered(name, expr.regular)
        elif isinstance(expr, ir.Ref):
            if expr.rule not in self._callers:
                raise GrammarError(f"the rule {expr.rule!r} is missing", where=name)
            self._callers[expr.rule].add(name)
        elif isinstance(expr, ir.Loop):
            if expr.low < 0 or (expr.high is not None and expr.high < expr.low):
                raise GrammarError(
                    expected="0 <= low <= high", got=f"{expr.low}..{expr.high}", where=name
                )
            self._scan(name, expr.item, depth + 1)
        else:
            for item in expr.items:
                self._scan(name, item, depth + 1)

    def _lowered(self, name: str, term: ir.Regular) -> Node:
        try:
            return terminal(self.arena, term)
        except GrammarError as error:
            error.where = error.where or name
            raise

    def _solve(
        self, evaluate: Callable[[ir.Expr, dict[str, _Fact]], _Fact], unknown: _Fact
    ) -> dict[str, _Fact]:
        """The least fixed point of a fact about rules, from `unknown` on."""
        facts = dict.fromkeys(self.grammar.rules, unknown)
        waiting = deque(facts)
        queued = set(facts)
        while waiting:
            name = waiting.popleft()
            queued.discard(name)
            fact = evaluate(self.grammar.rules[name], facts)
            if fact != facts[name]:
                facts[name] = fact
                for caller in self._callers[name] - queued:
                    queued.add(caller)
                    waiting.append(caller)
        return facts

    def measure(self, weight: Callable[[Node], int]) -> dict[str, int]:
        """For each rule the least sum of its terminals' weights; INFINITE where nothing matches."""
        weights = {key: min(weight(node), INFINITE) for key, node in self._terms.items()}

        def evaluate(expr: ir.Expr, facts: dict[str, int]) -> int:
            if isinstance(expr, ir.Term):
                return weights[id(expr)]
            if isinstance(expr, ir.Ref):
                return facts[expr.rule]
            if isinstance(expr, ir.Loop):
                return min(expr.low * evaluate(expr.item, facts), INFINITE) if expr.low else 0
            found = [evaluate(item, facts) for item in expr.items]
            if isinstance(expr, ir.Choice):
                return min(found, default=INFINITE)
            return min(sum(found), INFINITE)

        return self._solve(evaluate, INFINITE)

    def nothing(self, expr: ir.Expr) -> bool:
        """Whether nothing matches `expr`, of this grammar."""
        found = self._nothing.get(id(expr))
        if found is None:
            found = self._nothing[id(expr)] = self._find_nothing(expr)
        return found

    def _find_nothing(self, expr: ir.Expr) -> bool:
        if isinstance(expr, ir.Term):
            return self._terms[id(expr)].shortest >= INFINITE
        if isinstance(expr, ir.Ref):
            return self.nearest[expr.rule] >= INFINITE
        if isinstance(expr, ir.Loop):
            return expr.low > 0 and self.nothing(expr.item)
        found = (self.nothing(item) for item in expr.items)
        return all(found) if isinstance(expr, ir.Choice) else any(found)

    def _nullable_of(self, expr: ir.Expr, facts: dict[str, bool]) -> bool:
        if isinstance(expr, ir.Term):
            return self._terms[id(expr)].nullable
        if isinstance(expr, ir.Ref):
            return facts[expr.rule]
        if isinstance(expr, ir.Loop):
            return expr.low == 0 or self._nullable_of(expr.item, facts)
        found = [self._nullable_of(item, facts) for item in expr.items]
        return any(found) if isinstance(expr, ir.Choice) else all(found)

    def _blame(self, name: str) -> str:
        """The rule nearest to the cause: that of the first part that nothing matches."""
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)
            called = self._barren_call(self.grammar.rules[name])
            if called is None:
                break
            name = called
        return name

    def _barren_call(self, expr: ir.Expr) -> str | None:
        """A call that is to blame for `expr` matching nothing."""
        if isinstance(expr, ir.Ref):
            return expr.rule
        parts = (expr.item,) if isinstance(expr, ir.Loop) else getattr(expr, "items", ())
        for part in parts:
            if self.nothing(part):
                called = self._barren_call(part)
                if called is not None or isinstance(expr, ir.Seq):
                    return called
        return None

    def _first_calls(self, expr: ir.Expr) -> set[str]:
        """Rules that `expr` may call before taking a byte."""
        if isinstance(expr, ir.Ref):
            return {expr.rule}
        if isinstance(expr, ir.Loop):
            return self._first_calls(expr.item)
        if isinstance(expr, ir.Choice):
            return set().union(*(self._first_calls(item) for item in expr.items))
        found: set[str] = set()
        if isinstance(expr, ir.Seq):
            for item in expr.items:
                found |= self._first_calls(item)
                if not self.nullable(item):
                    break
        return found

    def left_cycles(self) -> list[list[str]]:
        """Sets of rules that can call each other before taking a byte (Tarjan's components)."""
        graph = {name: self._first_calls(rule) for name, rule in self.grammar.rules.items()}
        order: dict[str, int] = {}
        lowest: dict[str, int] = {}
        path: dict[str, None] = {}
        found: list[list[str]] = []
        for root in graph:
            stack = [] if root in order else [(root, iter(sorted(graph[root])))]
            while stack:
                name, calls = stack[-1]
                if name not in order:
                    order[name] = lowest[name] = len(order)
                    path[name] = None
                called = next((c for c in calls if c not in order or c in path), None)
                if called is None:
                    stack.pop()
                    if stack:
                        above = stack[-1][0]
                        lowest[above] = min(lowest[above], lowest[name])
                    if lowest[name] == order[name]:
                        component = [path.popitem()[0]]
                        while component[-1] != name:
                            component.append(path.popitem()[0])
                        if len(component) > 1 or name in graph[name]:
                            found.append(component[::-1])
                elif called in order:
                    lowest[name] = min(lowest[name], order[called])
                else:
                    stack.append((called, iter(sorted(graph[called]))))
        return found

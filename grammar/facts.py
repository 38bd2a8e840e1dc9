"""What holds of a grammar's rules before it runs: what is empty, what may be nothing, who calls
whom before taking a byte.

All of it follows from the fewest bytes that an expression takes: none where nothing matches it
(INFINITE), 0 where it may be empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy

from ..errors import GrammarError
from . import ir
from .arena import Arena
from .lower import terminal
from .node import INFINITE, Node

MAX_DEPTH = 150  # expressions inside expressions
MAX_EXPRESSIONS = 50_000  # of one grammar: it is made ready between two steps of an engine

_LEAST, _SUM, _TIMES = range(3)
# The weight of an expression, as far as it is known before that of the rules it calls: a number, a
# rule's name, or what is to be done with a number and the weights of some parts.
_Weight = int | str | tuple[int, int, "list[_Weight]"]


class Facts:
    """Facts about `grammar`, its terms lowered into `arena`. Raises GrammarError where a rule is
    missing, a count is no count, or nothing matches the start rule (naming the rule to blame).

    nearest: for each rule the bytes of its shortest text. nodes: those of the terms, each once.
    size: expressions.
    """

    def __init__(self, arena: Arena, grammar: ir.GrammarIR) -> None:
        self.arena = arena
        self.grammar = grammar
        self.nodes: dict[Node, ir.Regular] = {}
        self._terms: dict[int, Node] = {}  # by id() of the IR term, which the grammar keeps alive
        self._callers: dict[str, set[str]] = {name: set() for name in grammar.rules}
        self._fewest: dict[int, int] = {}  # likewise, by id() of the IR expression
        self.size = 0
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

    def moved(self, arena: Arena) -> Facts:
        """The same facts with the terms lowered into another arena, of the same alphabet."""
        made = copy(self)
        made.arena = arena
        found = {node: terminal(arena, term) for node, term in self.nodes.items()}
        made.nodes = {found[node]: term for node, term in self.nodes.items()}
        made._terms = {key: found[node] for key, node in self._terms.items()}
        return made

    def node(self, term: ir.Term) -> Node:
        """The node of one of the grammar's own terms."""
        return self._terms[id(term)]

    def nullable(self, expr: ir.Expr) -> bool:
        """Whether `expr`, of this grammar, may be the empty text."""
        return self._bytes_of(expr) == 0

    def nothing(self, expr: ir.Expr) -> bool:
        """Whether nothing matches `expr`, of this grammar."""
        return self._bytes_of(expr) >= INFINITE

    def _scan(self, name: str, expr: ir.Expr, depth: int) -> None:
        """Lowers the terms of one rule and notes whom it calls."""
        if depth > MAX_DEPTH:
            raise GrammarError(f"a rule nested more than {MAX_DEPTH} deep", where=name)
        self.size += 1
        if self.size > MAX_EXPRESSIONS:
            raise GrammarError(
                expected=f"a grammar of at most {MAX_EXPRESSIONS:,} expressions",
                got="more",
                hint="Split it into several calls; optional properties and alternatives count most",
            )
        if isinstance(expr, ir.Term):
            if id(expr) not in self._terms:
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
            node = terminal(self.arena, term)
        except GrammarError as error:
            error.where = error.where or name
            raise
        self.nodes.setdefault(node, term)
        return node

    def measure(self, weight: Callable[[Node], int]) -> dict[str, int]:
        """For each rule the least sum of its terminals' weights; INFINITE where nothing matches."""
        weights = {node: min(weight(node), INFINITE) for node in self.nodes}
        of = {key: weights[node] for key, node in self._terms.items()}
        rules = {name: _weigh(rule, of) for name, rule in self.grammar.rules.items()}
        least = {name: w if isinstance(w, int) else INFINITE for name, w in rules.items()}
        # Rules are mostly made before those that they call.
        waiting = deque(name for name, w in reversed(rules.items()) if not isinstance(w, int))
        queued = set(waiting)
        while waiting:
            name = waiting.popleft()
            queued.discard(name)
            found = _value(rules[name], least)
            if found != least[name]:
                least[name] = found
                for caller in self._callers[name] - queued:
                    queued.add(caller)
                    waiting.append(caller)
        return least

    def _bytes_of(self, expr: ir.Expr) -> int:
        """The fewest bytes that `expr` takes."""
        if isinstance(expr, ir.Term):
            return self._terms[id(expr)].shortest
        if isinstance(expr, ir.Ref):
            return self.nearest[expr.rule]
        found = self._fewest.get(id(expr))
        if found is None:
            if isinstance(expr, ir.Loop):
                found = expr.low * self._bytes_of(expr.item) if expr.low else 0
            elif isinstance(expr, ir.Choice):
                found = min([self._bytes_of(item) for item in expr.items], default=INFINITE)
            else:
                found = sum([self._bytes_of(item) for item in expr.items])
            self._fewest[id(expr)] = found
        return found

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
        found: set[str] = set()
        waiting = [expr]
        while waiting:
            here = waiting.pop()
            if isinstance(here, ir.Ref):
                found.add(here.rule)
            elif isinstance(here, ir.Loop):
                waiting.append(here.item)
            elif isinstance(here, ir.Choice):
                waiting.extend(here.items)
            elif isinstance(here, ir.Seq):
                for item in here.items:
                    waiting.append(item)
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


def _weigh(expr: ir.Expr, of: dict[int, int]) -> _Weight:
    """The weight of `expr`, by those of its terms."""
    if isinstance(expr, ir.Term):
        return of[id(expr)]
    if isinstance(expr, ir.Ref):
        return expr.rule
    if isinstance(expr, ir.Loop):
        if not expr.low:
            return 0
        turn = _weigh(expr.item, of)
        if isinstance(turn, int):
            return min(expr.low * turn, INFINITE)
        return (_TIMES, expr.low, [turn])
    parts: list[_Weight] = []
    known = INFINITE if isinstance(expr, ir.Choice) else 0
    for item in expr.items:
        weight = _weigh(item, of)
        if not isinstance(weight, int):
            parts.append(weight)
        elif isinstance(expr, ir.Seq):
            known += weight
        elif weight < known:
            known = weight
    if not parts or (known == 0 and isinstance(expr, ir.Choice)):
        return min(known, INFINITE)
    return (_SUM if isinstance(expr, ir.Seq) else _LEAST, known, parts)


def _value(weight: _Weight, rules: dict[str, int]) -> int:
    if isinstance(weight, int):
        return weight
    if isinstance(weight, str):
        return rules[weight]
    kind, known, parts = weight
    found = [rules[p] if isinstance(p, str) else _value(p, rules) for p in parts]
    if kind == _LEAST:
        return min(known, *found)
    return min(known + sum(found) if kind == _SUM else known * found[0], INFINITE)

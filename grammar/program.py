"""A grammar made ready to run: IR expressions as hash-consed nodes over the arena's terms.

An `Expr` doubles as what is still to be done: the rest of a sequence and a loop with a smaller
count are expressions too, so that the machine's stacks are stacks of expressions.

What cannot end is pruned here (alternatives that match nothing), and a grammar of which nothing is
left is refused by name. So is left recursion, which the machine would chase for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ..errors import GrammarError
from . import ir
from .arena import INFINITE, Arena, Node
from .derivatives import nonempty
from .lower import lower

NIL, TERM, SEQ, CHOICE, LOOP, CALL = range(6)
MAX_DEPTH = 150  # expressions inside expressions
_Fact = TypeVar("_Fact")


class Expr:
    """kind NIL: nothing. TERM: `node`, without its empty string. SEQ: `head`, then `tail`. CHOICE:
    one of `items`. LOOP: `head`, low to high times; a turn takes at least one byte. CALL: the rule
    number `rule`.

    nullable: it may take no byte at all (that a TERM may is told here, not by its node).
    nearest: bytes of the shortest text it takes. cost: an upper bound of that in tokens (lazy).
    """

    __slots__ = (
        "cost", "head", "high", "id", "items", "kind", "low", "nearest", "node", "nullable",
        "rule", "tail",
    )  # fmt: skip

    def __init__(self, kind: int, number: int) -> None:
        self.kind = kind
        self.id = number
        self.nullable = False
        self.nearest = 0
        self.cost: int | None = None
        self.node: Node | None = None
        self.head: Expr = self
        self.tail: Expr = self
        self.items: tuple[Expr, ...] = ()
        self.low = 0
        self.high: int | None = None
        self.rule = 0


class Program:
    """The expressions of one grammar. Raises GrammarError where it matches nothing, naming the
    rule; where a rule is missing; where it is left-recursive."""

    def __init__(self, arena: Arena, grammar: ir.GrammarIR) -> None:
        self.arena = arena
        self._grammar = grammar
        self._terms: dict[int, Node] = {}  # by id() of the IR term, which the grammar keeps alive
        self._callers: dict[str, set[str]] = {name: set() for name in grammar.rules}
        if grammar.start not in grammar.rules:
            raise GrammarError(f"the start rule {grammar.start!r} is missing", where="grammar")
        for name, rule in grammar.rules.items():
            self._scan(name, rule, 0)
        self._nearest = self.measure(lambda node: node.shortest)
        if self._nearest[grammar.start] >= INFINITE:
            raise GrammarError(
                "nothing matches this grammar",
                where=self._blame(grammar.start),
                hint="Its requirements contradict each other, or it calls itself without an end.",
            )
        self._nullable = self._solve(self._nullable_of, False)
        self._refuse_left_recursion()
        self._exprs: dict[tuple[object, ...], Expr] = {}
        self.nil = self._make((NIL,), NIL)
        self.nil.nullable = True
        self._numbers = {name: i for i, name in enumerate(grammar.rules)}
        self.names = list(grammar.rules)
        self.bodies = [self._build(rule) for rule in grammar.rules.values()]
        self.start = self._call(grammar.start)

    # -- facts about the IR ------------------------------------------------------------------------

    def _scan(self, name: str, expr: ir.Expr, depth: int) -> None:
        """Lowers the terms of one rule and notes whom it calls."""
        if depth > MAX_DEPTH:
            raise GrammarError(f"a rule nested more than {MAX_DEPTH} deep", where=name)
        if isinstance(expr, ir.Term):
            self._terms[id(expr)] = lower(self.arena, expr.regular)
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

    def _solve(
        self, evaluate: Callable[[ir.Expr, dict[str, _Fact]], _Fact], unknown: _Fact
    ) -> dict[str, _Fact]:
        """The least fixed point of a fact about rules, from `unknown` on."""
        facts = dict.fromkeys(self._grammar.rules, unknown)
        waiting = deque(facts)
        queued = set(facts)
        while waiting:
            name = waiting.popleft()
            queued.discard(name)
            fact = evaluate(self._grammar.rules[name], facts)
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

    def _nothing(self, expr: ir.Expr) -> bool:
        """Whether nothing matches `expr`."""
        if isinstance(expr, ir.Term):
            return self._terms[id(expr)].shortest >= INFINITE
        if isinstance(expr, ir.Ref):
            return self._nearest[expr.rule] >= INFINITE
        if isinstance(expr, ir.Loop):
            return expr.low > 0 and self._nothing(expr.item)
        found = (self._nothing(item) for item in expr.items)
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
            called = self._barren_call(self._grammar.rules[name])
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
            if self._nothing(part):
                called = self._barren_call(part)
                if called is not None or isinstance(expr, ir.Seq):
                    return called
        return None

    def _refuse_left_recursion(self) -> None:
        """Raises for a rule that can call itself before taking a byte."""
        first = {name: self._first_calls(rule) for name, rule in self._grammar.rules.items()}
        done: set[str] = set()
        for root in first:
            path: dict[str, None] = {}
            stack = [(root, False)]
            while stack:
                name, leaving = stack.pop()
                if leaving:
                    path.popitem()
                    done.add(name)
                elif name in path:
                    calls = list(path)
                    loop = " -> ".join([*calls[calls.index(name) :], name])
                    raise GrammarError(
                        "left recursion", got=loop, where=name, hint="Write it as a repetition."
                    )
                elif name not in done:
                    path[name] = None
                    stack.append((name, True))
                    stack.extend((called, False) for called in sorted(first[name]))

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
                if not self._nullable_of(item, self._nullable):
                    break
        return found

    # -- expressions -------------------------------------------------------------------------------

    def _make(self, key: tuple[object, ...], kind: int) -> Expr:
        expr = self._exprs[key] = Expr(kind, len(self._exprs))
        return expr

    def _build(self, expr: ir.Expr) -> Expr:
        """The expression of `expr`; NIL where nothing matches it (no caller gets there)."""
        if self._nothing(expr):
            return self.nil
        if isinstance(expr, ir.Term):
            return self._term(self._terms[id(expr)])
        if isinstance(expr, ir.Ref):
            return self._call(expr.rule)
        if isinstance(expr, ir.Loop):
            if self._nothing(expr.item):
                return self.nil
            return self.loop(self._build(expr.item), expr.low, expr.high)
        if isinstance(expr, ir.Seq):
            built = self.nil
            for item in reversed(expr.items):
                built = self._seq(self._build(item), built)
            return built
        return self._choice([self._build(item) for item in expr.items if not self._nothing(item)])

    def _term(self, node: Node) -> Expr:
        """A terminal. The empty string is kept apart, so that every turn of a loop takes bytes."""
        inside = nonempty(self.arena, node)
        if inside is self.arena.empty:
            return self.nil
        key = (TERM, node)
        expr = self._exprs.get(key)
        if expr is None:
            expr = self._make(key, TERM)
            expr.node = inside
            expr.nullable = node.nullable
            expr.nearest = node.shortest
        return expr

    def _call(self, name: str) -> Expr:
        key = (CALL, name)
        expr = self._exprs.get(key)
        if expr is None:
            expr = self._make(key, CALL)
            expr.rule = self._numbers[name]
            expr.nullable = self._nullable[name]
            expr.nearest = self._nearest[name]
        return expr

    def _seq(self, head: Expr, tail: Expr) -> Expr:
        if head.kind == NIL:
            return tail
        if tail.kind == NIL:
            return head
        if head.kind == SEQ:
            parts = []
            while head.kind == SEQ:
                parts.append(head.head)
                head = head.tail
            for part in (head, *reversed(parts)):
                tail = self._seq(part, tail)
            return tail
        key = (SEQ, head, tail)
        expr = self._exprs.get(key)
        if expr is None:
            expr = self._make(key, SEQ)
            expr.head, expr.tail = head, tail
            expr.nullable = head.nullable and tail.nullable
            expr.nearest = min(head.nearest + tail.nearest, INFINITE)
        return expr

    def _choice(self, items: list[Expr]) -> Expr:
        if len(set(items)) == 1:
            return items[0]
        key = (CHOICE, *items)
        expr = self._exprs.get(key)
        if expr is None:
            expr = self._make(key, CHOICE)
            expr.items = tuple(dict.fromkeys(items))
            expr.nullable = any(item.nullable for item in items)
            expr.nearest = min(item.nearest for item in items)
        return expr

    def loop(self, item: Expr, low: int, high: int | None) -> Expr:
        """`item`, low to high times."""
        if high == 0 or item.kind == NIL:
            return self.nil
        if item.nullable:
            low = 0
        if (low, high) == (1, 1):
            return item
        key = (LOOP, item, low, high)
        expr = self._exprs.get(key)
        if expr is None:
            expr = self._make(key, LOOP)
            expr.head, expr.low, expr.high = item, low, high
            expr.nullable = low == 0
            expr.nearest = min(low * item.nearest, INFINITE) if low else 0
        return expr

    def less(self, loop: Expr) -> Expr:
        """What a LOOP has left after one more turn has begun."""
        high = None if loop.high is None else loop.high - 1
        return self.loop(loop.head, max(loop.low - 1, 0), high)

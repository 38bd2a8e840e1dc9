"""A grammar made ready to run: IR expressions as hash-consed nodes over the arena's terms.

An `Expr` doubles as what is still to be done: the rest of a sequence and a loop with a smaller
count are expressions too, so that the machine's stacks are stacks of expressions.

What cannot end is pruned here: alternatives that match nothing. A rule's body is built when the
machine first enters it, or before (`prepare`).
"""

from __future__ import annotations

from . import ir
from .arena import Arena
from .derivatives import nonempty
from .facts import Facts
from .left_recursion import remove_left_recursion
from .node import INFINITE, REP, Node
from .records import is_record

SMALL = 1000  # expressions of a grammar whose rules are built before they are entered
NIL, TERM, SEQ, CHOICE, LOOP, CALL = range(6)


class Expr:
    """kind NIL: nothing. TERM: `node`, without its empty string. SEQ: `head`, then `tail`. CHOICE:
    one of `items`. LOOP: `head`, low to high times; a turn takes at least one byte. CALL: the rule
    number `rule`.

    nullable: it may take no byte at all (that a TERM may is told here, not by its node).
    nearest: bytes of the shortest text it takes. cost: an upper bound of that in tokens (lazy).
    rank: larger than that of every expression it can begin with; 0 until `Program.rank` is asked.
    """

    __slots__ = (
        "cost", "head", "high", "id", "items", "kind", "low", "nearest", "node", "nullable",
        "rank", "rule", "tail",
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
        self.rank = 0


class Program:
    """The expressions of one grammar. facts: those of the same grammar that another program has, of
    an arena of the same alphabet. Raises GrammarError as `Facts` does."""

    def __init__(self, arena: Arena, grammar: ir.GrammarIR, facts: Facts | None = None) -> None:
        self.arena = arena
        self.facts = _facts(arena, grammar) if facts is None else facts.moved(arena)
        self._rules = self.facts.grammar.rules
        self._exprs: dict[tuple[object, ...], Expr] = {}
        self.nil = self._make((NIL,), NIL)
        self.nil.nullable = True
        self._numbers = {name: i for i, name in enumerate(self._rules)}
        self._names = list(self._rules)
        self._bodies: list[Expr | None] = [None] * len(self._names)
        # What can fail is done at once.
        self._terminals = {node: self._terminal(node) for node in self.facts.nodes}
        self.start = self._call(self.facts.grammar.start)

    def prepare(self) -> None:
        """Builds the bodies of a small grammar beforehand: of a large one, a text sees but few."""
        if self.facts.size <= SMALL:
            for number in range(len(self._bodies)):
                self.rank(self.body(number))

    def body(self, rule: int) -> Expr:
        """The expression of a rule; NIL where nothing matches it (no caller gets there)."""
        found = self._bodies[rule]
        if found is None:
            found = self._bodies[rule] = self._build(self._rules[self._names[rule]])
        return found

    # -- expressions -------------------------------------------------------------------------------

    def _make(self, key: tuple[object, ...], kind: int) -> Expr:
        expr = self._exprs[key] = Expr(kind, len(self._exprs))
        return expr

    def _build(self, expr: ir.Expr) -> Expr:
        """The expression of `expr`; NIL where nothing matches it (no caller gets there)."""
        if self.facts.nothing(expr):
            return self.nil
        if isinstance(expr, ir.Term):
            return self._terminals[self.facts.node(expr)]
        if isinstance(expr, ir.Ref):
            return self._call(expr.rule)
        if isinstance(expr, ir.Loop):
            if self.facts.nothing(expr.item):
                return self.nil
            return self.loop(self._build(expr.item), expr.low, expr.high)
        if isinstance(expr, ir.Seq):
            built = self.nil
            for item in reversed(expr.items):
                built = self._seq(self._build(item), built)
            return built
        return self._choice(
            [self._build(item) for item in expr.items if not self.facts.nothing(item)]
        )

    def _terminal(self, node: Node) -> Expr:
        """A terminal; records, one after the other, are a loop over one: else, where they are
        counted, each would be other states than the one before, with rows of their own."""
        if node.kind == REP and node.high != 1 and is_record(self.arena, node.a):
            return self.loop(self._term(node.a), node.low, node.high)
        return self._term(node)

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
            expr.nearest = self.facts.nearest[name]
            expr.nullable = expr.nearest == 0
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

    def rank(self, expr: Expr) -> int:
        """Larger than that of every expression that `expr` can begin with. Without recursion: rules
        may lead to each other in a long chain."""
        waiting = [expr]
        while waiting and not expr.rank:
            current = waiting[-1]
            first = self._begins_with(current)
            missing = [inner for inner in first if not inner.rank]
            if missing:
                waiting.extend(missing)
                continue
            current.rank = 1 + max((inner.rank for inner in first), default=0)
            waiting.pop()
        return expr.rank

    def _begins_with(self, expr: Expr) -> tuple[Expr, ...]:
        if expr.kind == SEQ:
            return (expr.head, expr.tail) if expr.head.nullable else (expr.head,)
        if expr.kind == CHOICE:
            return expr.items
        if expr.kind == LOOP:
            return (expr.head,)
        return (self.body(expr.rule),) if expr.kind == CALL else ()


def _facts(arena: Arena, grammar: ir.GrammarIR) -> Facts:
    """Facts of `grammar`, of one without left recursion if it has any."""
    facts = Facts(arena, grammar)
    cycles = facts.left_cycles()
    if not cycles:
        return facts
    return Facts(arena, remove_left_recursion(grammar, cycles, facts.nullable))

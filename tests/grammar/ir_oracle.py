"""A reference reading of the IR, slow and literal: which texts does a grammar have?

It decides membership by sets of end positions, straight from the meaning of each node, without
automata, bytes or tokens, and draws random texts. The machine's tests use it as their oracle too.
"""

from __future__ import annotations

import random

from espalier.grammar import ir

_POOL = "".join(map(chr, range(32, 127))) + 'é漢😀\n\t"\\/' + "\x00\x1f\x7f\u2028"


class Oracle:
    """Membership and samples for one grammar."""

    def __init__(self, grammar: ir.GrammarIR | ir.Regular) -> None:
        if not isinstance(grammar, ir.GrammarIR):
            grammar = ir.GrammarIR(rules={"start": ir.Term(grammar)})
        self.grammar = grammar
        self._shortest: dict[str, float] = {}

    def accepts(self, text: str) -> bool:
        """Whether the whole of `text` is in the language."""
        return len(text) in _Reading(self.grammar, text).rule(self.grammar.start, 0)

    def prefix_ends(self, text: str) -> frozenset[int]:
        """The positions at which a complete text of the language may end inside `text`."""
        return _Reading(self.grammar, text).rule(self.grammar.start, 0)

    def sample(self, seed: int, *, size: int = 12) -> str | None:
        """A random text of the language, about `size` repetitions wide; None where a term with
        `And` or `Not` could not be hit by chance."""
        if not self._shortest:
            self._shortest = _depths(self.grammar)
        draw = _Draw(self.grammar, random.Random(seed), size, self._shortest)
        try:
            return draw.expr(ir.Ref(self.grammar.start), 8)
        except _Missed:
            return None


class _Reading:
    """End positions of the nodes of one grammar in one text."""

    def __init__(self, grammar: ir.GrammarIR, text: str) -> None:
        self._rules = grammar.rules
        self._text = text
        self._regular: dict[tuple[int, int], frozenset[int]] = {}
        self._known: dict[tuple[str, int], frozenset[int]] = {}
        self._growing: dict[tuple[str, int], frozenset[int]] = {}
        self._used: set[tuple[str, int]] = set()

    def rule(self, name: str, start: int) -> frozenset[int]:
        """Ends of a rule's texts from `start`; a rule met inside itself grows to its fixpoint."""
        key = (name, start)
        if key in self._known:
            return self._known[key]
        if key in self._growing:
            self._used.add(key)
            return self._growing[key]
        self._growing[key] = frozenset()
        while True:
            found = self.expr(self._rules[name], start)
            if found == self._growing[key]:
                break
            self._growing[key] = found
            if key not in self._used:
                break
        del self._growing[key]
        self._used.discard(key)
        if not self._used:  # otherwise it may rest on a rule that still grows
            self._known[key] = found
        return found

    def expr(self, expr: ir.Expr, start: int) -> frozenset[int]:
        match expr:
            case ir.Term(regular):
                return self.regular(regular, start)
            case ir.Ref(name):
                return self.rule(name, start)
            case ir.Seq(items):
                here = frozenset({start})
                for item in items:
                    here = frozenset(end for at in here for end in self.expr(item, at))
                return here
            case ir.Choice(items):
                return frozenset(end for item in items for end in self.expr(item, start))
            case ir.Loop(item, low, high):
                return self._repeat(lambda at: self.expr(item, at), start, low, high)

    def regular(self, regular: ir.Regular, start: int) -> frozenset[int]:
        key = (id(regular), start)
        if key not in self._regular:
            self._regular[key] = self._ends(regular, start)
        return self._regular[key]

    def _ends(self, regular: ir.Regular, start: int) -> frozenset[int]:
        text = self._text
        match regular:
            case ir.Lit(literal):
                return frozenset({start + len(literal)} if text.startswith(literal, start) else ())
            case ir.Chars(ranges):
                inside = start < len(text) and any(
                    low <= ord(text[start]) <= high for low, high in ranges
                )
                return frozenset({start + 1} if inside else ())
            case ir.Cat(items):
                here = frozenset({start})
                for item in items:
                    here = frozenset(end for at in here for end in self.regular(item, at))
                return here
            case ir.Alt(items):
                return frozenset(end for item in items for end in self.regular(item, start))
            case ir.Rep(item, low, high):
                return self._repeat(lambda at: self.regular(item, at), start, low, high)
            case ir.And(items):
                every = frozenset(range(start, len(text) + 1))
                for item in items:
                    every &= self.regular(item, start)
                return every
            case ir.Not(item):
                return frozenset(range(start, len(text) + 1)) - self.regular(item, start)

    def _repeat(self, ends, start: int, low: int, high: int | None) -> frozenset[int]:
        here = frozenset({start})
        for _ in range(low):
            following = frozenset(end for at in here for end in ends(at))
            if following == here:
                break
            here = following
        found = set(here)
        count = low
        while here and (high is None or count < high):
            here = frozenset(end for at in here for end in ends(at)) - found
            found |= here
            count += 1
        return frozenset(found)


class _Missed(Exception):
    """A product or complement that random tries did not hit."""


class _Draw:
    def __init__(
        self, grammar: ir.GrammarIR, rng: random.Random, size: int, depths: dict[str, float]
    ) -> None:
        self._grammar = grammar
        self._rng = rng
        self._size = size
        self._depths = depths

    def expr(self, expr: ir.Expr, fuel: int) -> str:
        match expr:
            case ir.Term(regular):
                return self.regular(regular)
            case ir.Ref(name):
                return self.expr(self._grammar.rules[name], fuel - 1)
            case ir.Seq(items):
                return "".join(self.expr(item, fuel) for item in items)
            case ir.Choice(items):
                usable = [item for item in items if _depth(item, self._depths) < float("inf")]
                if fuel <= 0:
                    usable = [min(usable, key=lambda item: _depth(item, self._depths))]
                return self.expr(self._rng.choice(usable), fuel)
            case ir.Loop(item, low, high):
                count = low
                if fuel > 0 and _depth(item, self._depths) < float("inf"):
                    count = self._count(low, high)
                return "".join(self.expr(item, fuel) for _ in range(count))

    def _count(self, low: int, high: int | None) -> int:
        top = low + self._rng.choice((0, 1, 1, 2, 3))
        return top if high is None else min(top, high)

    def regular(self, regular: ir.Regular) -> str:
        match regular:
            case ir.Lit(text):
                return text
            case ir.Chars(ranges):
                if not ranges:
                    raise _Missed
                inside = [c for c in _POOL if any(a <= ord(c) <= b for a, b in ranges)]
                if inside and self._rng.random() < 0.9:
                    return self._rng.choice(inside)
                low, high = self._rng.choice(ranges)
                return chr(self._rng.randint(low, min(high, low + 2000)))
            case ir.Cat(items):
                return "".join(map(self.regular, items))
            case ir.Alt(items):
                if not items:
                    raise _Missed
                return self.regular(self._rng.choice(items))
            case ir.Rep(item, low, high):
                wide = low + self._rng.randint(0, self._size)
                count = wide if high is None else min(wide, high)
                return "".join(self.regular(item) for _ in range(count))
            case ir.And(items):
                whole = Oracle(regular)
                for _ in range(300):
                    text = self.regular(self._rng.choice(items))
                    if whole.accepts(text):
                        return text
                raise _Missed
            case ir.Not(item):
                inner = Oracle(item)
                for _ in range(100):
                    width = self._rng.randint(0, self._size)
                    text = "".join(self._rng.choice(_POOL) for _ in range(width))
                    if not inner.accepts(text):
                        return text
                raise _Missed


def _depths(grammar: ir.GrammarIR) -> dict[str, float]:
    """For each rule, how deep the flattest of its texts nests rules; infinite if it has none."""
    depths = dict.fromkeys(grammar.rules, float("inf"))
    changed = True
    while changed:
        changed = False
        for name, body in grammar.rules.items():
            found = 1 + _depth(body, depths)
            if found < depths[name]:
                depths[name], changed = found, True
    return depths


def _depth(expr: ir.Expr, depths: dict[str, float]) -> float:
    match expr:
        case ir.Term():
            return 0
        case ir.Ref(name):
            return depths[name]
        case ir.Seq(items):
            return max((_depth(item, depths) for item in items), default=0)
        case ir.Choice(items):
            return min((_depth(item, depths) for item in items), default=float("inf"))
        case ir.Loop(item, low, _):
            return _depth(item, depths) if low else 0

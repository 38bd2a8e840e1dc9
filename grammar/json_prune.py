"""Strikes out what can never be finished: rules and alternatives without a finite text.

Invariant 1: in a pruned grammar every rule has a finite text, as far as terms without `And` and
`Not` tell, and is reached from the start; `check_pruned` names a rule that breaks it.
"""

from __future__ import annotations

from ..errors import GrammarError, InvariantError
from . import ir


def prune(
    rules: dict[str, ir.Expr], places: dict[str, str], start: str = "start"
) -> dict[str, ir.Expr]:
    """The rules that are reached from `start` and can end, without alternatives that cannot.

    If `start` cannot end: GrammarError, with the place of the innermost rule that cannot either.
    """
    ends = _Ends(rules)
    if start not in ends.alive:
        culprit = ends.culprit(start)
        raise GrammarError(
            "no value satisfies the schema",
            where=places.get(culprit, culprit),
            hint="Look for contradictions, `false`, or recursion that never ends",
        )
    found: dict[str, ir.Expr] = {}
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in found:
            body, calls = ends.trimmed_rule(name)
            found[name] = body
            todo.extend(sorted(calls, reverse=True))
    return found


def check_pruned(rules: dict[str, ir.Expr], start: str = "start") -> None:
    """Raise InvariantError naming the rule that cannot end or is never reached."""
    alive = _Ends(rules).alive
    reached = set(prune(rules, {}, start)) if start in alive else set()
    for name in rules:
        if name not in alive or name not in reached:
            raise InvariantError(f"1: rule {name!r} cannot end or is not reached")


class _Ends:
    """Which rules and expressions have a finite text: the least fixpoint over the rules."""

    def __init__(self, rules: dict[str, ir.Expr]) -> None:
        self.alive: set[str] = set()
        self._void: dict[int, bool] = {}
        self._rules = rules  # keeps the ids of its terms valid
        self._calls: dict[str, set[str]] = {}
        self._whole = True  # nothing was seen yet that cannot end
        callers: dict[str, list[str]] = {}
        for name, body in rules.items():
            self._calls[name] = self._look(body)
            for called in self._calls[name]:
                callers.setdefault(called, []).append(name)
        todo = list(rules)
        while todo:
            name = todo.pop()
            if name not in self.alive and self.ends(rules[name]):
                self.alive.add(name)
                todo.extend(callers.get(name, ()))
        self._whole &= len(self.alive) == len(rules)

    def _look(self, body: ir.Expr) -> set[str]:
        """The rules that a body calls."""
        found: set[str] = set()
        todo = [body]
        while todo:
            expr = todo.pop()
            if isinstance(expr, ir.Term):
                self._whole &= self.ends(expr)
            elif isinstance(expr, ir.Ref):
                found.add(expr.rule)
            elif isinstance(expr, ir.Loop):
                todo.append(expr.item)
                self._whole &= expr.high is None or expr.low <= expr.high
            else:
                todo.extend(expr.items)
                self._whole &= bool(expr.items) or isinstance(expr, ir.Seq)
        return found

    def trimmed_rule(self, name: str) -> tuple[ir.Expr, set[str]]:
        """The body of a rule that can end without what cannot, and the rules it calls."""
        if self._whole:
            return self._rules[name], self._calls[name]
        body = self.trimmed(self._rules[name])
        assert body is not None, name
        return body, self._look(body)

    def ends(self, expr: ir.Expr) -> bool:
        if isinstance(expr, ir.Ref):
            return expr.rule in self.alive
        if isinstance(expr, ir.Term):
            return not self._is_void(expr.regular)
        if isinstance(expr, ir.Loop):
            return expr.low == 0 or (
                (expr.high is None or expr.low <= expr.high) and self.ends(expr.item)
            )
        found = map(self.ends, expr.items)
        return all(found) if isinstance(expr, ir.Seq) else any(found)

    def _is_void(self, regular: ir.Regular) -> bool:
        void = self._void.get(id(regular))
        if void is None:
            void = self._void[id(regular)] = _void(regular)
        return void

    def trimmed(self, expr: ir.Expr) -> ir.Expr | None:
        """The expression without alternatives that cannot end; None if it cannot end itself."""
        match expr:
            case ir.Term() | ir.Ref():
                return expr if self.ends(expr) else None
            case ir.Seq(items):
                parts = [self.trimmed(item) for item in items]
                kept = tuple(part for part in parts if part is not None)
                if len(kept) < len(parts):
                    return None
                return expr if _same(kept, items) else ir.Seq(kept)
            case ir.Choice(items):
                found = (self.trimmed(item) for item in items)
                kept = tuple(item for item in found if item is not None)
                if len(kept) <= 1:
                    return kept[0] if kept else None
                return expr if _same(kept, items) else ir.Choice(kept)
            case ir.Loop(item, low, high):
                inner = self.trimmed(item)
                if inner is None or (high is not None and low > high):
                    return ir.Seq(()) if low == 0 else None
                return expr if inner is item else ir.Loop(inner, low, high)

    def culprit(self, start: str) -> str:
        """The last rule on a walk from `start` through rules that cannot end."""
        seen = [start]
        while True:
            dead = sorted(name for name in self._calls[seen[-1]] if name not in self.alive)
            following = next((name for name in dead if name not in seen), None)
            if following is None:
                return seen[-1]
            seen.append(following)


def _same(a: tuple[ir.Expr, ...], b: tuple[ir.Expr, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _void(regular: ir.Regular) -> bool:
    """Whether a term surely matches nothing (complements and products are not opened)."""
    match regular:
        case ir.Lit():
            return False
        case ir.Chars(ranges):
            return not ranges
        case ir.Cat(items) | ir.And(items):
            return any(map(_void, items))
        case ir.Alt(items):
            return all(map(_void, items))
        case ir.Rep(item, low, high):
            return (high is not None and low > high) or (low > 0 and _void(item))
    return False

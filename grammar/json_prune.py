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
        culprit = _culprit(rules, start, ends.alive)
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
            found[name] = ends.trimmed(rules[name])
            todo.extend(sorted(_calls(found[name]), reverse=True))
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
        self._held = rules  # keeps the ids of its terms valid
        callers: dict[str, list[str]] = {}
        for name, body in rules.items():
            for called in _calls(body):
                callers.setdefault(called, []).append(name)
        todo = list(rules)
        while todo:
            name = todo.pop()
            if name not in self.alive and self.ends(rules[name]):
                self.alive.add(name)
                todo.extend(callers.get(name, ()))

    def ends(self, expr: ir.Expr) -> bool:
        match expr:
            case ir.Term(regular):
                void = self._void.get(id(regular))
                if void is None:
                    void = self._void[id(regular)] = _void(regular)
                return not void
            case ir.Ref(name):
                return name in self.alive
            case ir.Seq(items):
                return all(self.ends(item) for item in items)
            case ir.Choice(items):
                return any(self.ends(item) for item in items)
            case ir.Loop(item, low, high):
                return low == 0 or ((high is None or low <= high) and self.ends(item))

    def trimmed(self, expr: ir.Expr) -> ir.Expr:
        """The expression without alternatives that cannot end."""
        match expr:
            case ir.Seq(items):
                return ir.Seq(tuple(map(self.trimmed, items)))
            case ir.Choice(items):
                kept = tuple(self.trimmed(item) for item in items if self.ends(item))
                return kept[0] if len(kept) == 1 else ir.Choice(kept)
            case ir.Loop(item, low, high):
                return ir.Loop(self.trimmed(item), low, high) if self.ends(item) else ir.Seq(())
        return expr


def _calls(expr: ir.Expr) -> set[str]:
    found: set[str] = set()
    todo = [expr]
    while todo:
        match todo.pop():
            case ir.Ref(name):
                found.add(name)
            case ir.Seq(items) | ir.Choice(items):
                todo.extend(items)
            case ir.Loop(item, _, _):
                todo.append(item)
    return found


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


def _culprit(rules: dict[str, ir.Expr], start: str, alive: set[str]) -> str:
    """The last rule on a walk from `start` through rules that cannot end."""
    seen = [start]
    while True:
        dead = sorted(name for name in _calls(rules[seen[-1]]) if name not in alive)
        following = next((name for name in dead if name not in seen), None)
        if following is None:
            return seen[-1]
        seen.append(following)

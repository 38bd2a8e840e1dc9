"""Arrays: brackets, separators, a prefix of single items, then a counted rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from ..errors import GrammarError
from . import ir
from .json_clauses import Arrays, Conj, both, least, negated
from .json_keywords import Refusal
from .json_states import State, states_expr
from .json_text import Const, Part, optional, sequence
from .json_unique import shared_values

if TYPE_CHECKING:
    from .json_build import Builder

_MAX_DEMANDS = 3
_NESTED = 16
"""Optional prefix items nest this deep before the rest becomes a rule of its own."""


def array_expr(build: Builder, rule: str, arrays: Arrays) -> ir.Expr:
    """The JSON texts of the arrays; an expression without alternatives where there are none."""
    if arrays.demands or arrays.unique:
        return _counting(build, rule, arrays)
    layout = build.layout
    items = [build.value(conj) for conj in arrays.prefix[: arrays.high]]
    rest = build.value(arrays.rest)
    high = arrays.high
    dead = next((index for index, item in enumerate(items) if build.nothing(item)), None)
    if dead is not None:
        items, high = items[:dead], least(high, dead)
    elif build.nothing(rest):
        high = least(high, len(items))
    if high is not None and arrays.low > high:
        return build.NOTHING
    tail = _tail(build, rule, items, rest, arrays.low, high)
    if arrays.low > 0:
        return sequence([*layout.opening("["), *tail, *layout.closing("]")])
    body = [optional(sequence([*tail, layout.space]))] if tail else []
    return sequence([*layout.opening("["), *body, ir.Lit("]")])


def _tail(
    build: Builder, rule: str, items: list[ir.Expr], rest: ir.Expr, low: int, high: int | None
) -> list[Part]:
    """All items, given that there is at least one; empty where there can be none."""
    comma = build.layout.comma
    count = len(items)
    after: list[Part] = []
    if high is None or high > count:
        most = None if high is None else high - max(count, 1)
        least_more = max(low - max(count, 1), 0)
        if most != 0:
            after = [ir.Loop(sequence([comma, rest]), least_more, most)]
        if count == 0:
            return [rest, *after]
    for index in range(count - 1, 0, -1):
        item: list[Part] = [comma, items[index], *after]
        if index < low:
            after = item
        elif (count - index) % _NESTED == 0:
            after = [optional(build.rule(f"{rule}@{index}", sequence(item)))]
        else:
            after = [optional(sequence(item))]
    return [items[0], *after] if items else []


# -- counted items ---------------------------------------------------------------------------------


def _counting(build: Builder, rule: str, arrays: Arrays) -> ir.Expr:
    demands = tuple(demand for demand in arrays.demands if demand.low or demand.high is not None)
    shared: list[Const] = []
    if arrays.unique:
        try:
            shared = shared_values(build.logic, arrays)
        except Refusal as refusal:
            build.logic.drop(refusal)
    if not demands and not shared:
        return array_expr(build, rule, replace(arrays, demands=(), unique=""))
    if len(demands) > _MAX_DEMANDS:
        raise GrammarError(
            f"`contains` {len(demands)} times over for one array",
            expected=f"at most {_MAX_DEMANDS}",
            where=rule,
        )
    automaton = _Counting(build, replace(arrays, demands=demands), shared)
    return states_expr(build, rule, "[]", automaton)


class _Counting:
    """Arrays of which so many items satisfy `contains`, and no two are the same shared value.
    State: items so far, a bit per shared value used, then the counts.

    An item that is not counted under an upper bound must lie outside the counted schema. Without
    one it may be anything: not counting it only asks for more.
    """

    def __init__(self, build: Builder, arrays: Arrays, shared: list[Const]) -> None:
        self._build = build
        self._arrays = arrays
        self._shared = shared
        self._unshared: Conj = tuple((value, False) for value in shared)
        self._width = max(
            len(arrays.prefix), arrays.low, *(demand.start for demand in arrays.demands), 0
        )
        self.start: State = (0,) * (len(arrays.demands) + 2)

    def steps(self, state: State) -> Iterator[tuple[list[Part], State]]:
        index, used, *counts = state
        arrays = self._arrays
        if arrays.high is not None and index >= arrays.high:
            return
        after = index + 1 if arrays.high is not None else min(index + 1, self._width)
        options: list[list[bool]] = []
        for demand, count in zip(arrays.demands, counts, strict=True):
            may = index >= demand.start and (
                count < demand.low if demand.high is None else count < demand.high
            )
            options.append([False, True] if may else [False])
        for picks in product(*options):
            following = [count + pick for count, pick in zip(counts, picks, strict=True)]
            item = self._item(index, picks, self._unshared)
            if item is not None:
                yield [item], (after, used, *following)
            for bit, value in enumerate(self._shared):
                if not used >> bit & 1:
                    item = self._item(index, picks, ((value, True),))
                    if item is not None:
                        yield [item], (after, used | 1 << bit, *following)

    def _item(self, index: int, picks: tuple[bool, ...], which: Conj) -> ir.Expr | None:
        """An item at `index` that counts for the picked demands, and not for those with a bound."""
        conjs = [both(self._arrays.item(index), which)]
        for demand, picked in zip(self._arrays.demands, picks, strict=True):
            if picked:
                conjs = [both(conj, demand.conj) for conj in conjs]
            elif demand.high is not None and index >= demand.start:
                others = [(negated(literal),) for literal in demand.conj]
                conjs = [both(conj, other) for conj in conjs for other in others]
        choices = [
            value
            for conj in dict.fromkeys(conjs)
            if not self._build.nothing(value := self._build.value(conj))
        ]
        if len(choices) <= 1:
            return choices[0] if choices else None
        return ir.Choice(tuple(choices))

    def may_end(self, state: State) -> bool:
        index, _, *counts = state
        return index >= self._arrays.low and all(
            count >= demand.low for demand, count in zip(self._arrays.demands, counts, strict=True)
        )

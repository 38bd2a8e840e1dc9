"""Arrays: brackets, separators, a prefix of single items, then a counted rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ir
from .json_clauses import Arrays, least
from .json_text import Part, optional, sequence

if TYPE_CHECKING:
    from .json_build import Builder

_NESTED = 16
"""Optional prefix items nest this deep before the rest becomes a rule of its own."""


def array_expr(build: Builder, rule: str, arrays: Arrays) -> ir.Expr:
    """The JSON texts of the arrays; an expression without alternatives where there are none."""
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

"""`uniqueItems`, exactly, where the items that could be equal are a few values.

Of an array, let the *shared* values be those that two positions could hold. If they can be listed,
an array is written by noting which of them were used (json_arrays); everything else needs no note,
for no two positions could hold it. Where two positions could hold infinitely many values both (two
strings), or too many, no small grammar tells whether they are equal: that is refused.
"""

from __future__ import annotations

from dataclasses import replace
from math import comb
from typing import TYPE_CHECKING

from .json_check import accepts, clause_accepts
from .json_clauses import Arrays, Clause, Conj, Type
from .json_keywords import Refusal
from .json_text import Const

if TYPE_CHECKING:
    from .json_logic import Logic

_MAX_VALUES = 300
_MAX_SETS = 2_048
"""Sets of shared values that an array may have used."""


def shared_values(logic: Logic, arrays: Arrays) -> list[Const]:
    """The values that two items of an array with `uniqueItems` could both be.

    Raises Refusal where they cannot be listed, or used in too many ways.
    """
    if arrays.high is not None and arrays.high <= 1:
        return []
    positions = [*arrays.prefix[: arrays.high]]
    beyond = None if arrays.high is None else arrays.high - len(positions)
    if beyond is None or beyond > 0:
        positions += [arrays.rest] * (1 if beyond == 1 else 2)
    listed: dict[Const, None] = {}
    open_: list[list[Clause]] = []
    for conj in positions:
        values, others = _split(logic, conj)
        listed |= dict.fromkeys(values)
        if any(not logic.disjoint(others, before) for before in open_):
            raise _refusal(arrays, "where two items can be equal in infinitely many ways")
        open_.append(others)
        if len(listed) > _MAX_VALUES:
            break
    shared = [
        value for value in listed if sum(accepts(logic, conj, value) for conj in positions) > 1
    ]
    most = len(shared) if arrays.high is None else min(len(shared), arrays.high)
    if len(listed) > _MAX_VALUES or sum(comb(len(shared), n) for n in range(most + 1)) > _MAX_SETS:
        raise _refusal(arrays, f"over {len(shared)} values that two items could both be")
    return sorted(shared, key=repr)


def _refusal(arrays: Arrays, why: str) -> Refusal:
    return Refusal(
        f"`uniqueItems` is not supported {why}",
        where=arrays.unique,
        hint="List the items' values with `enum` (11 at most), set maxItems, or leave it out",
    )


def _split(logic: Logic, conj: Conj) -> tuple[list[Const], list[Clause]]:
    """The values of types that have few in `conj`, and clauses for all the others."""
    values: list[Const] = []
    others: list[Clause] = []
    for clause in logic.expand(conj):
        open_types: set[Type] = set()
        if clause.values is not None:
            values += [value for value in clause.values if clause_accepts(logic, clause, value)]
            continue
        for name in clause.types:
            few = _few(clause, name)
            if few is None:
                open_types.add(name)
            else:
                values += [value for value in few if clause_accepts(logic, clause, value)]
        if open_types:
            others.append(replace(clause, types=frozenset(open_types)))
    return values, others


def _few(clause: Clause, name: Type) -> list[Const] | None:
    """All values of one type that the clause could hold; None where they are many."""
    if name == "null":
        return [("null",)]
    if name == "boolean":
        return [("boolean", False), ("boolean", True)]
    if name == "number":
        points = clause.numbers.few()
        return None if points is None else [("number", point) for point in points]
    if name == "string":
        return [("string", "")] if clause.strings.high == 0 else None
    if name == "array":
        return [("array",)] if clause.arrays.high == 0 else None
    return [("object",)] if clause.objects.high == 0 else None

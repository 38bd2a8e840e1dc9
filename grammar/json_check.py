"""Does one value belong to a conjunction? And: what holds for one member of an object?

Finite sets (`enum`, `const`) are filtered with this instead of being intersected symbolically.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from . import ir
from .json_clauses import NOTHING, Arrays, Clause, Conj, Exists, Objects, Strings, both
from .json_formats import format_term
from .json_match import matches
from .json_text import Const
from .regex import pattern_regular

if TYPE_CHECKING:
    from .json_logic import Logic


@cache
def test_term(kind: str, source: str, ascii: bool, wanted: bool) -> ir.Regular:
    """The decoded strings that pass a string test: a `pattern` (searched) or a `format`; at least
    all that do, where they are not wanted."""
    if kind == "pattern":
        return pattern_regular(source, search=True, ascii=ascii)
    return format_term(source, wide=not wanted)


def accepts(logic: Logic, conj: Conj, value: Const) -> bool:
    """Whether a value satisfies a conjunction."""
    return any(clause_accepts(logic, clause, value) for clause in logic.expand(conj))


def clause_accepts(logic: Logic, clause: Clause, value: Const) -> bool:
    """Whether a value satisfies a clause."""
    kind = value[0]
    if kind not in clause.types or value in clause.excluded:
        return False
    if clause.values is not None and value not in clause.values:
        return False
    if kind == "number":
        return value[1] in clause.numbers
    if kind == "string":
        return _string(logic, clause.strings, value[1])
    if kind == "array":
        return _array(logic, clause.arrays, value[1:])
    return kind != "object" or _object(logic, clause.objects, value[1:])


def _string(logic: Logic, strings: Strings, text: str) -> bool:
    if len(text) < strings.low or (strings.high is not None and len(text) > strings.high):
        return False
    return all(
        matches(test_term(kind, source, logic.ascii, wanted), text) is wanted
        for kind, source, wanted in strings.tests
    )


def _array(logic: Logic, arrays: Arrays, items: tuple[Const, ...]) -> bool:
    if len(items) < arrays.low or (arrays.high is not None and len(items) > arrays.high):
        return False
    if arrays.unique and len(set(items)) < len(items):
        return False
    for demand in arrays.demands:
        count = sum(accepts(logic, demand.conj, item) for item in items[demand.start :])
        if count < demand.low or (demand.high is not None and count > demand.high):
            return False
    return all(accepts(logic, arrays.item(i), item) for i, item in enumerate(items))


def _object(logic: Logic, objects: Objects, members: tuple[Const, ...]) -> bool:
    if len(members) < objects.low or (objects.high is not None and len(members) > objects.high):
        return False
    if not {name for name, _ in members}.issuperset(objects.required):
        return False
    for exists in objects.exists:
        if not any(
            name_exists(logic, exists, name) and accepts(logic, exists.value, value)
            for name, value in members
        ):
            return False
    return all(accepts(logic, member(logic, objects, name), value) for name, value in members)


def name_exists(logic: Logic, exists: Exists, name: str) -> bool:
    """Whether a member of this name may be the one that `exists` asks for."""
    return (
        name not in exists.but
        and _string(logic, Strings(exists.tests), name)
        and (not exists.names or accepts(logic, exists.names, ("string", name)))
    )


def member(logic: Logic, objects: Objects, name: str) -> Conj:
    """What the value of the member `name` must satisfy; NOTHING where the name is not allowed."""
    if objects.names and not accepts(logic, objects.names, ("string", name)):
        return NOTHING
    conj: Conj = ()
    for source in objects.sources:
        said = source.get(name)
        spoken = said is not None
        if said is not None:
            conj = both(conj, said)
        for pattern, value in source.patterns:
            if matches(test_term("pattern", pattern, logic.ascii, True), name):
                spoken = True
                conj = both(conj, value)
        if not spoken:
            conj = both(conj, source.others)
    return NOTHING if NOTHING[0] in conj else conj

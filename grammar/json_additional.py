"""Additional members of an object: those with names that no schema declares.

An additional name may repeat, and a decoder keeps its last value: each of its values satisfies what
holds for all members. Where *some* member must have a certain value (`Exists`, from a negated
schema) and an additional member is chosen to be it, no later one can undo that: it has such a value
too, or a name that cannot be the chosen one's. So every object is writable, with the chosen member
behind those that lack such a value. Two such demands of which neither implies the other, which two
additional members would have to meet, are refused: no grammar can ensure that their names differ.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import TYPE_CHECKING

from ..errors import GrammarError
from . import ir
from .json_clauses import ANYTHING, NOTHING, Conj, Exists, Objects, both, negated
from .json_keywords import Refusal
from .json_text import sequence

if TYPE_CHECKING:
    from .json_build import Builder

_MAX_PATTERNS = 6


def additional(
    build: Builder,
    rule: str,
    objects: Objects,
    names: list[str],
    meets: list[Exists],
    keeps: list[Exists],
) -> ir.Expr | None:
    """One additional member that meets all of `meets`, by classes of names under like patterns.

    keeps: what an additional member before it has met, and this one must not undo.
    """
    patterns = _patterns(objects)
    if len(patterns) > _MAX_PATTERNS:
        raise GrammarError(
            f"`patternProperties` with {len(patterns)} patterns for one object",
            expected=f"at most {_MAX_PATTERNS}",
            where=rule,
        )
    allowed = build.name_terms(objects.names)
    but: dict[str, None] = dict.fromkeys(names)
    for one in meets:
        allowed += build.name_terms(one.names)
        allowed += [build.test(*test) for test in sorted(one.tests)]
        but |= dict.fromkeys(sorted(one.but))
    ways: list[list[tuple[Conj, ir.Regular | None]]] = [
        [(one.value, None), *_elsewhere(build, one)] for one in keeps
    ]
    choices: list[ir.Expr] = []
    for under, kept in product(_subsets(patterns), product(*ways)):
        conj = _class_conj(objects, under)
        for value_of in (*(one.value for one in meets), *(value for value, _ in kept)):
            conj = both(conj, value_of)
        if NOTHING[0] in conj or build.logic.empty(conj):
            continue
        value = build.value(conj)
        if build.nothing(value):
            continue
        tests = [build.test("pattern", pattern, pattern in under) for pattern in patterns]
        tests += allowed
        tests += [outside for _, outside in kept if outside is not None]
        if but:
            tests.append(ir.Not(ir.Alt(tuple(ir.Lit(name) for name in but))))
        key = build.text.free
        if tests:
            key = build.text.canonical(tests[0] if len(tests) == 1 else ir.And(tuple(tests)))
        choices.append(sequence([ir.Term(key), build.layout.colon, value]))
    if not choices:
        return None
    return choices[0] if len(choices) == 1 else ir.Choice(tuple(choices))


def _patterns(objects: Objects) -> list[str]:
    return list(
        dict.fromkeys(pattern for source in objects.sources for pattern, _ in source.patterns)
    )


def _subsets(patterns: list[str]) -> list[set[str]]:
    """The classes of names: those under each set of patterns, and under no other."""
    falls = product((True, False), repeat=len(patterns))
    return [{pattern for pattern, does in zip(patterns, row, strict=True) if does} for row in falls]


def _elsewhere(build: Builder, exists: Exists) -> list[tuple[Conj, ir.Regular | None]]:
    """Any value, under a name that the member `exists` asks for cannot have (if there is one)."""
    terms = build.name_terms(exists.names)
    terms += [build.test(*test) for test in sorted(exists.tests)]
    if exists.but:
        terms.append(ir.Not(ir.Alt(tuple(map(ir.Lit, sorted(exists.but))))))
    return [(ANYTHING, ir.Not(ir.And(tuple(terms))))] if terms else []


def compatible(build: Builder, rule: str, objects: Objects, names: list[str]) -> Objects:
    """The objects, less demands that the caller agreed to drop. Raises Refusal for two that differ
    in the values they ask of additional members: that their names differ no grammar can ensure."""
    asked = [
        one
        for one in objects.exists
        if one.value and additional(build, rule, objects, names, [one], []) is not None
    ]
    for one, other in combinations(asked, 2):
        if _implies(build, objects, one, other) or _implies(build, objects, other, one):
            continue
        build.logic.drop(
            Refusal(
                "two negated schemas ask for additional properties with different values: "
                "the names could be the same",
                where=build.places.get(rule, rule),
                hint='Set "additionalProperties": false, or name the properties they speak of',
            )
        )
        kept = tuple(exists for exists in objects.exists if exists != other)
        return compatible(build, rule, replace(objects, exists=kept), names)
    return objects


def _implies(build: Builder, objects: Objects, one: Exists, other: Exists) -> bool:
    """True only where every additional member with a value as `one` asks is as `other` asks."""
    try:
        return all(
            build.logic.empty(
                both(both(_class_conj(objects, under), one.value), (negated(literal),))
            )
            for under in _subsets(_patterns(objects))
            for literal in other.value
        )
    except Refusal:  # the negation does not exist
        return False


def _class_conj(objects: Objects, under: set[str]) -> Conj:
    """What members must satisfy whose names fall under exactly these patterns."""
    conj: Conj = ()
    for source in objects.sources:
        said = [value for pattern, value in source.patterns if pattern in under]
        for value in said or [source.others]:
            conj = both(conj, value)
    return conj

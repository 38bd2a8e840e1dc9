"""Applicators that apply in place: what they say, and what their contrary says, as clauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import GrammarError
from .json_clauses import ANYTHING, Clause, Conj, Objects, without
from .json_document import child
from .json_keywords import Refusal, Schema
from .json_rivals import rivals

if TYPE_CHECKING:
    from .json_logic import Logic

Reading = Callable[["Logic", str, Schema], list[Clause]]


def _list(logic: Logic, location: str, schema: Schema, keyword: str) -> list[Conj]:
    value = schema[keyword]
    if not isinstance(value, list) or not value:
        raise GrammarError(
            f"`{keyword}` has a wrong value",
            expected="a list of schemas, not empty",
            got=repr(value)[:60],
            where=child(location, keyword),
        )
    return [logic.reference(child(location, keyword, index)) for index in range(len(value))]


# -- references, allOf, anyOf, not -----------------------------------------------------------------


def _reference(keyword: str) -> tuple[Reading, Reading]:
    def holds(logic: Logic, location: str, schema: Schema) -> list[Clause]:
        return logic.expand(_target(logic, location, schema))

    def fails(logic: Logic, location: str, schema: Schema) -> list[Clause]:
        return logic.contrary(_target(logic, location, schema))

    def _target(logic: Logic, location: str, schema: Schema) -> Conj:
        return logic.reference(logic.document.target(location, schema[keyword], keyword))

    return holds, fails


def _all_of(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    found = logic.expand(ANYTHING)
    for part in _list(logic, location, schema, "allOf"):
        found = logic.product(found, logic.expand(part))
    return found


def _not_all_of(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    return logic.union(*[logic.contrary(part) for part in _list(logic, location, schema, "allOf")])


def _any_of(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    branches = [logic.expand(part) for part in _list(logic, location, schema, "anyOf")]
    if not logic.annotating:
        return logic.union(*branches)
    found: list[Clause] = []
    for clauses in branches:  # all that hold evaluate, so sets of them are clauses too
        found = logic.union(found, clauses, logic.product(found, clauses))
    return found


def _not_any_of(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    found = logic.expand(ANYTHING)
    for part in _list(logic, location, schema, "anyOf"):
        found = logic.product(found, logic.contrary(part))
    return found


def _not(logic: Logic, location: str, _: Schema) -> list[Clause]:
    return logic.contrary(logic.reference(child(location, "not")))


def _not_not(logic: Logic, location: str, _: Schema) -> list[Clause]:
    return logic.expand(logic.reference(child(location, "not")))


# -- oneOf -----------------------------------------------------------------------------------------


def _one_of(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    """Each branch less those it shares values with."""
    parts = _list(logic, location, schema, "oneOf")
    found: list[list[Clause]] = []
    others = rivals(logic, parts)
    for index, part in enumerate(parts):
        alone = logic.expand(part)
        for other in others[index]:
            if parts[other] == part:
                alone = []
                break
            try:
                alone = logic.product(alone, logic.contrary(parts[other]))
            except Refusal as refusal:
                logic.drop(_overlap(location, index, other, refusal))
        found.append(alone)
    return logic.union(*found)


def _overlap(location: str, index: int, other: int, refusal: Refusal) -> Refusal:
    first, second = sorted((index, other))
    return Refusal(
        f"`oneOf` branches {first} and {second} may accept the same value, and {refusal.message}",
        where=child(location, "oneOf"),
        hint="Tell the branches apart by `type` or by a required `const` member, or use `anyOf`",
    )


def _not_one_of(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    """None of the branches, or two of them."""
    parts = _list(logic, location, schema, "oneOf")
    found = logic.expand(ANYTHING)
    for part in parts:
        found = logic.product(found, logic.contrary(part))
    pairs = [(i, j) for i in range(len(parts)) for j in range(i)]
    both = [logic.product(logic.expand(parts[i]), logic.expand(parts[j])) for i, j in pairs]
    return logic.union(found, *both)


# -- if, dependencies ------------------------------------------------------------------------------


def _if(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    condition, then, other = _cases(logic, location, schema)
    if then == other and not logic.annotating:
        return logic.expand(then)
    return logic.union(
        logic.product(logic.expand(condition), logic.expand(then)),
        logic.product(logic.contrary(condition), logic.expand(other)),
    )


def _not_if(logic: Logic, location: str, schema: Schema) -> list[Clause]:
    condition, then, other = _cases(logic, location, schema)
    return logic.union(
        logic.product(logic.expand(condition), logic.contrary(then)),
        logic.product(logic.contrary(condition), logic.contrary(other)),
    )


def _cases(logic: Logic, location: str, schema: Schema) -> tuple[Conj, Conj, Conj]:
    condition, then, other = (
        logic.reference(child(location, keyword)) if keyword in schema else ANYTHING
        for keyword in ("if", "then", "else")
    )
    return condition, then, other


def _dependencies(keyword: str) -> tuple[Reading, Reading]:
    def holds(logic: Logic, location: str, schema: Schema) -> list[Clause]:
        found = logic.expand(ANYTHING)
        for name, lacking, needs in _each(logic, location, schema):
            having = logic.product([_having(name)], needs)
            found = logic.product(found, [*lacking, *having])
        return found

    def fails(logic: Logic, location: str, schema: Schema) -> list[Clause]:
        found: list[list[Clause]] = []
        for name, value in _entries(location, schema).items():
            if isinstance(value, list):
                broken = [Clause(objects=without(other)) for other in value]
            else:
                broken = logic.contrary(logic.reference(child(location, keyword, name)))
            found.append(logic.product([_having(name)], broken))
        return logic.union(*found)

    def _each(
        logic: Logic, location: str, schema: Schema
    ) -> list[tuple[str, list[Clause], list[Clause]]]:
        rows = []
        for name, value in _entries(location, schema).items():
            if isinstance(value, list):
                needs = [Clause(objects=Objects(required=tuple(value)))]
            else:
                needs = logic.expand(logic.reference(child(location, keyword, name)))
            rows.append((name, [Clause(objects=without(name))], needs))
        return rows

    def _entries(location: str, schema: Schema) -> dict[str, Any]:
        table = schema[keyword]
        if not isinstance(table, dict):
            raise GrammarError(
                f"`{keyword}` has a wrong value",
                expected="an object",
                got=repr(table)[:60],
                where=child(location, keyword),
            )
        for name, value in table.items():
            names = isinstance(value, list) and all(isinstance(item, str) for item in value)
            if not names and (keyword == "dependentRequired" or isinstance(value, list)):
                raise GrammarError(
                    f"`{keyword}` has a wrong value",
                    expected="a list of strings",
                    got=repr(value)[:60],
                    where=child(location, keyword, name),
                )
        return table

    return holds, fails


def _having(name: str) -> Clause:
    return Clause(types=frozenset({"object"}), objects=Objects(required=(name,)))


APPLICATORS: dict[str, tuple[Reading, Reading]] = {
    "$ref": _reference("$ref"),
    "$dynamicRef": _reference("$dynamicRef"),
    "$recursiveRef": _reference("$recursiveRef"),
    "allOf": (_all_of, _not_all_of),
    "if": (_if, _not_if),
    "anyOf": (_any_of, _not_any_of),
    "oneOf": (_one_of, _not_one_of),
    "not": (_not, _not_not),
    "dependentRequired": _dependencies("dependentRequired"),
    "dependentSchemas": _dependencies("dependentSchemas"),
    "dependencies": _dependencies("dependencies"),
}
"""By keyword: clauses of the values that satisfy it, and of those that do not."""

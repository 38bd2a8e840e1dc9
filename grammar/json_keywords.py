"""Assertion keywords: what each says (one clause), and what its contrary says (some clauses).

Every keyword of the draft 2020-12 vocabularies, and of the older spellings, is in exactly one table
here or in json_logic.py: enforced, an annotation, or refused by name. Keywords in no table are
annotations, as the specification has it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ..errors import GrammarError
from .json_clauses import (
    ANYTHING,
    NOTHING,
    TYPES,
    Arrays,
    Clause,
    Conj,
    Members,
    Objects,
    Strings,
    Type,
)
from .json_check import test_term
from .json_document import child
from .json_formats import FORMATS
from .json_numbers import Numbers
from .json_text import Const, Orders, const_of, decimal_of

Schema = dict[str, Any]

REFUSED = {
    "contains": "Give the items a schema with `items` or `prefixItems`",
    "minContains": "Give the items a schema with `items` or `prefixItems`",
    "maxContains": "Give the items a schema with `items` or `prefixItems`",
    "uniqueItems": "Leave it out, or list the wanted arrays with `enum`",
    "multipleOf": 'Use "type": "integer", or list the wanted numbers with `enum`',
    "unevaluatedItems": "Use `items`",
    "unevaluatedProperties": "Use `additionalProperties`",
    "$dynamicRef": "Use `$ref`",
    "$recursiveRef": "Use `$ref`",
}
"""Understood, not enforced here; the hint says what to use. `TRIVIAL` values of them are let by."""

_TRIVIAL: dict[str, tuple[Any, ...]] = {
    "uniqueItems": (False,),
    "unevaluatedItems": (True,),
    "unevaluatedProperties": (True,),
    "minContains": (0,),
}
_NEEDS_CONTAINS = ("minContains", "maxContains")


class Refusal(GrammarError):
    """A keyword that cannot be enforced exactly; with `lenient` it is dropped instead."""


def refuse(
    keyword: str, location: str, why: str = "is not supported", hint: str | None = None
) -> Refusal:
    """The error for a keyword that cannot be enforced exactly, at its own pointer."""
    return Refusal(
        f"`{keyword}` {why}", where=child(location, keyword), hint=hint or REFUSED.get(keyword)
    )


def refusals(location: str, schema: Schema) -> list[Refusal]:
    """The errors of the keywords in `schema` that are refused."""
    found: list[Refusal] = []
    for keyword in REFUSED:
        if keyword not in schema or schema[keyword] in _TRIVIAL.get(keyword, ()):
            continue
        if keyword in _NEEDS_CONTAINS and "contains" not in schema:
            continue
        found.append(refuse(keyword, location))
    return found


# -- reading values --------------------------------------------------------------------------------


def _wrong(expected: str, value: Any, location: str, keyword: str) -> GrammarError:
    text = repr(value)
    return GrammarError(
        f"`{keyword}` has a wrong value",
        expected=expected,
        got=text if len(text) <= 60 else text[:57] + "...",
        where=child(location, keyword),
    )


def _count(location: str, schema: Schema, keyword: str) -> int | None:
    value = schema.get(keyword)
    if value is None and keyword not in schema:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong("a whole number, 0 or more", value, location, keyword)
    return value


def _number(location: str, schema: Schema, keyword: str) -> Decimal | None:
    if keyword not in schema:
        return None
    value = schema[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("a number", value, location, keyword)
    return decimal_of(value, child(location, keyword))


def _names(location: str, schema: Schema, keyword: str) -> tuple[str, ...]:
    value = schema.get(keyword, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _wrong("a list of strings", value, location, keyword)
    return tuple(dict.fromkeys(value))


def _table(location: str, schema: Schema, keyword: str) -> dict[str, Any]:
    value = schema.get(keyword, {})
    if not isinstance(value, dict):
        raise _wrong("an object", value, location, keyword)
    return value


# -- what a schema asserts -------------------------------------------------------------------------


class Assertions:
    """Reads the assertion keywords of one schema into clauses.

    `reference(location)` gives the conjunction for the subschema at a location. assert_formats:
    whether known formats are enforced.
    """

    def __init__(
        self, reference: Callable[[str], Conj], *, assert_formats: bool, ascii: bool
    ) -> None:
        self._reference = reference
        self._ascii = ascii
        self._assert_formats = assert_formats
        self.orders: Orders = {}

    def clause(self, location: str, schema: Schema) -> Clause | None:
        """What the assertion keywords of `schema` say together; None: nothing is valid."""
        clause: Clause | None = Clause()
        for group in (
            self._type,
            self._values,
            self._numeric,
            self._string,
            self._array,
            self._object,
        ):
            part = group(location, schema)
            if clause is None or part is None:
                return None
            clause = clause.meet(part)
        return clause

    def contraries(self, location: str, schema: Schema) -> list[Clause]:
        """Clauses whose union is the complement of `clause`."""
        found: list[Clause] = []
        found += self._not_type(location, schema)
        found += self._not_values(location, schema)
        found += self._not_numeric(location, schema)
        found += self._not_string(location, schema)
        found += self._not_array(location, schema)
        found += self._not_object(location, schema)
        return [clause for part in found if (clause := part.reduced()) is not None]

    # -- type, enum, const

    def _type_names(self, location: str, schema: Schema) -> list[str] | None:
        if "type" not in schema:
            return None
        value = schema["type"]
        names = value if isinstance(value, list) else [value]
        for name in names:
            if not isinstance(name, str) or (name not in TYPES and name != "integer"):
                raise _wrong(f"one of {', '.join(sorted(TYPES))}, integer", name, location, "type")
        return names

    def _type(self, location: str, schema: Schema) -> Clause | None:
        names = self._type_names(location, schema)
        if names is None:
            return Clause()
        whole = True if "integer" in names and "number" not in names else None
        types = frozenset(_type_of(name) for name in names)
        return Clause(types=types, numbers=Numbers(whole=whole)) if types else None

    def _not_type(self, location: str, schema: Schema) -> list[Clause]:
        names = self._type_names(location, schema)
        if names is None:
            return []
        found = [Clause(types=TYPES - {_type_of(name) for name in names})]
        if "integer" in names and "number" not in names:
            found.append(Clause(types=frozenset({"number"}), numbers=Numbers(whole=False)))
        return found

    def _value_sets(self, location: str, schema: Schema) -> list[frozenset[Const]]:
        found: list[frozenset[Const]] = []
        if "const" in schema:
            found.append(
                frozenset({const_of(schema["const"], child(location, "const"), self.orders)})
            )
        if "enum" in schema:
            values = schema["enum"]
            if not isinstance(values, list):
                raise _wrong("a list", values, location, "enum")
            where = child(location, "enum")
            found.append(frozenset(const_of(value, where, self.orders) for value in values))
        return found

    def _values(self, location: str, schema: Schema) -> Clause | None:
        sets = self._value_sets(location, schema)
        if not sets:
            return Clause()
        return Clause(values=frozenset.intersection(*sets)).reduced()

    def _not_values(self, location: str, schema: Schema) -> list[Clause]:
        return [Clause(excluded=values) for values in self._value_sets(location, schema)]

    # -- numbers

    def _bounds(self, location: str, schema: Schema) -> list[Numbers]:
        found: list[Numbers] = []
        for side, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            bound = _number(location, schema, side)
            open_ = schema.get(exclusive) is True  # draft 4 has a flag beside the bound
            if bound is not None:
                found.append(_interval(side, bound, open_))
            if not isinstance(schema.get(exclusive), bool):
                bound = _number(location, schema, exclusive)
                if bound is not None:
                    found.append(_interval(side, bound, True))
        return found

    def _numeric(self, location: str, schema: Schema) -> Clause | None:
        numbers = Numbers()
        for bound in self._bounds(location, schema):
            numbers = numbers.meet(bound)
        return Clause(numbers=numbers).reduced()

    def _not_numeric(self, location: str, schema: Schema) -> list[Clause]:
        return [
            Clause(
                types=frozenset({"number"}),
                numbers=Numbers(
                    low=bound.high,
                    low_open=not bound.high_open,
                    high=bound.low,
                    high_open=not bound.low_open,
                ),
            )
            for bound in self._bounds(location, schema)
        ]

    # -- strings

    def _string_tests(self, location: str, schema: Schema) -> list[tuple[str, str, bool]]:
        tests: list[tuple[str, str, bool]] = []
        for keyword in ("pattern", "format"):
            if keyword not in schema:
                continue
            value = schema[keyword]
            if not isinstance(value, str):
                raise _wrong("a string", value, location, keyword)
            if keyword == "pattern":
                self._check_pattern(value, child(location, keyword))
            if keyword == "pattern" or (self._assert_formats and value in FORMATS):
                tests.append((keyword, value, True))
        return tests

    def _check_pattern(self, pattern: str, where: str) -> None:
        try:
            test_term("pattern", pattern, self._ascii)
        except GrammarError as error:
            column = f" ({error.where})" if error.where else ""
            raise Refusal(
                f"`pattern` {pattern!r}: {error.message}{column}",
                expected=error.expected,
                got=error.got,
                where=where,
                hint=error.hint,
            ) from error

    def _string(self, location: str, schema: Schema) -> Clause | None:
        low = _count(location, schema, "minLength") or 0
        high = _count(location, schema, "maxLength")
        tests = frozenset(self._string_tests(location, schema))
        return Clause(strings=Strings(tests, low, high)).reduced()

    def _not_string(self, location: str, schema: Schema) -> list[Clause]:
        low = _count(location, schema, "minLength")
        high = _count(location, schema, "maxLength")
        parts = [
            Strings(frozenset({(kind, source, False)}))
            for kind, source, _ in self._string_tests(location, schema)
        ]
        if low:
            parts.append(Strings(high=low - 1))
        if high is not None:
            parts.append(Strings(low=high + 1))
        return [Clause(types=frozenset({"string"}), strings=part) for part in parts]

    # -- arrays

    def _items(self, location: str, schema: Schema) -> tuple[list[Conj], Conj]:
        """The prefix's conjunctions and that of the items after it."""
        prefix_word, rest_word = "prefixItems", "items"
        if isinstance(schema.get("items"), list):
            prefix_word, rest_word = "items", "additionalItems"  # drafts 4 to 2019-09
        prefix = schema.get(prefix_word, [])
        if not isinstance(prefix, list):
            raise _wrong("a list of schemas", prefix, location, prefix_word)
        places = [child(location, prefix_word, index) for index in range(len(prefix))]
        rest = self._reference(child(location, rest_word)) if rest_word in schema else ANYTHING
        return [self._reference(place) for place in places], rest

    def _array(self, location: str, schema: Schema) -> Clause | None:
        prefix, rest = self._items(location, schema)
        low = _count(location, schema, "minItems") or 0
        high = _count(location, schema, "maxItems")
        return Clause(arrays=Arrays(tuple(prefix), rest, low, high)).reduced()

    def _not_array(self, location: str, schema: Schema) -> list[Clause]:
        prefix, rest = self._items(location, schema)
        low = _count(location, schema, "minItems")
        high = _count(location, schema, "maxItems")
        parts: list[Arrays] = []
        if low:
            parts.append(Arrays(high=low - 1))
        if high is not None:
            parts.append(Arrays(low=high + 1))
        for index, item in enumerate(prefix):
            for contrary in _contraries(item):
                parts.append(Arrays((ANYTHING,) * index + (contrary,), low=index + 1))
        if rest == NOTHING:
            parts.append(Arrays(low=len(prefix) + 1))
        elif rest:
            raise refuse("items", location, "cannot be negated", "Bound it with `maxItems`")
        return [Clause(types=frozenset({"array"}), arrays=part) for part in parts]

    # -- objects

    def _members(self, location: str, schema: Schema) -> Members:
        named = tuple(
            (name, self._reference(child(location, "properties", name)))
            for name in _table(location, schema, "properties")
        )
        for pattern in _table(location, schema, "patternProperties"):
            self._check_pattern(pattern, child(location, "patternProperties", pattern))
        patterns = tuple(
            (pattern, self._reference(child(location, "patternProperties", pattern)))
            for pattern in _table(location, schema, "patternProperties")
        )
        others = ANYTHING
        if "additionalProperties" in schema:
            others = self._reference(child(location, "additionalProperties"))
        return Members(named, patterns, others)

    def _object(self, location: str, schema: Schema) -> Clause | None:
        members = self._members(location, schema)
        names = ANYTHING
        if "propertyNames" in schema:
            names = self._reference(child(location, "propertyNames"))
        objects = Objects(
            () if members == Members() else (members,),
            names,
            _names(location, schema, "required"),
            _count(location, schema, "minProperties") or 0,
            _count(location, schema, "maxProperties"),
        )
        return Clause(objects=objects).reduced()

    def _not_object(self, location: str, schema: Schema) -> list[Clause]:
        members = self._members(location, schema)
        low = _count(location, schema, "minProperties")
        high = _count(location, schema, "maxProperties")
        parts = [without(name) for name in _names(location, schema, "required")]
        for name, conj in members.named:
            for contrary in _contraries(conj):
                parts.append(Objects((Members(((name, contrary),)),), required=(name,)))
        for keyword, conj in (
            *(("patternProperties", conj) for _, conj in members.patterns),
            ("additionalProperties", members.others),
            ("propertyNames", ANYTHING if "propertyNames" not in schema else NOTHING),
        ):
            if conj:
                raise refuse(keyword, location, "cannot be negated")
        if low:
            parts.append(Objects(high=low - 1))
        if high is not None:
            parts.append(Objects(low=high + 1))
        return [Clause(types=frozenset({"object"}), objects=part) for part in parts]


def without(name: str) -> Objects:
    """Objects that lack the member `name`."""
    return Objects((Members(((name, NOTHING),)),))


def _contraries(conj: Conj) -> list[Conj]:
    """Conjunctions whose union is the complement of `conj`."""
    return [((literal[0], not literal[1]),) for literal in conj]


def _interval(side: str, bound: Decimal, open_: bool) -> Numbers:
    if side == "minimum":
        return Numbers(low=bound, low_open=open_)
    return Numbers(high=bound, high_open=open_)


def _type_of(name: str) -> Type:
    found: Type = "number" if name == "integer" else name  # type: ignore[assignment]
    return found

"""Assertion keywords: what each says (one clause), and what its contrary says (some clauses)."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import GrammarError
from .json_check import test_term
from .json_clauses import (
    ANYTHING,
    TOP,
    TYPES,
    Arrays,
    Clause,
    Conj,
    Demand,
    Exists,
    Members,
    Objects,
    Strings,
    Type,
    outside,
    without,
)
from .json_document import child
from .json_formats import FORMATS
from .json_keywords import (
    Refusal,
    Schema,
    read_bounds,
    read_count,
    read_flag,
    read_names,
    read_step,
    read_table,
    refuse,
    wrong_value,
)
from .json_numbers import Numbers
from .json_text import Const, Orders, const_of

_NUMERIC = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_STRING = frozenset({"minLength", "maxLength", "pattern", "format"})
_ARRAY = frozenset(
    {
        *("items", "prefixItems", "additionalItems", "minItems", "maxItems", "contains"),
        "uniqueItems",
    }
)
_OBJECT = frozenset(
    {
        *("properties", "patternProperties", "additionalProperties", "propertyNames"),
        *("required", "minProperties", "maxProperties"),
    }
)


class Assertions:
    """Reads the assertion keywords of one schema into clauses.

    `reference(location)` gives the conjunction for the subschema at a location. assert_formats:
    whether known formats are enforced. annotating: note what is evaluated, for `unevaluated*`.
    """

    def __init__(
        self,
        reference: Callable[[str], Conj],
        *,
        assert_formats: bool,
        ascii: bool,
        annotating: bool,
    ) -> None:
        self._reference = reference
        self._ascii = ascii
        self._annotating = annotating
        self._assert_formats = assert_formats
        self.orders: Orders = {}
        self.annotated: dict[str, None] = {}
        self._groups = (
            (frozenset({"type"}), self._type),
            (frozenset({"enum", "const"}), self._values),
            (_NUMERIC, self._numeric),
            (_STRING, self._string),
            (_ARRAY, self._array),
            (_OBJECT, self._object),
        )

    def clause(self, location: str, schema: Schema) -> Clause | None:
        """What the assertion keywords of `schema` say together; None: nothing is valid."""
        clause: Clause | None = TOP
        for keywords, read in self._groups:
            if keywords.isdisjoint(schema):
                continue
            part = read(location, schema)
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
                raise wrong_value(
                    f"one of {', '.join(sorted(TYPES))}, integer", name, location, "type"
                )
        return names

    def _type(self, location: str, schema: Schema) -> Clause | None:
        names = self._type_names(location, schema)
        if names is None:
            return Clause()
        whole = True if "integer" in names and "number" not in names else None
        types: frozenset[Type] = frozenset(_type_of(name) for name in names)
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
                raise wrong_value("a list", values, location, "enum")
            where = child(location, "enum")
            found.append(frozenset(const_of(value, where, self.orders) for value in values))
        return found

    def _values(self, location: str, schema: Schema) -> Clause | None:
        sets = self._value_sets(location, schema)
        if not sets:
            return Clause()
        return Clause(values=frozenset.intersection(*sets)).reduced()

    def _not_values(self, location: str, schema: Schema) -> list[Clause]:
        found: list[Clause] = []
        for values in self._value_sets(location, schema):
            clauses = outside(values)
            if clauses is None:
                raise refuse("enum", location, "of so many arrays and objects cannot be negated")
            found += clauses
        return found

    # -- numbers

    def _numeric(self, location: str, schema: Schema) -> Clause | None:
        numbers = Numbers()
        for bound in read_bounds(location, schema):
            numbers = numbers.meet(bound)
        step = read_step(location, schema)
        if step is not None:
            numbers = numbers.meet(Numbers(steps=frozenset({(step, True)})))
        return Clause(numbers=numbers).reduced()

    def _not_numeric(self, location: str, schema: Schema) -> list[Clause]:
        parts = [
            Numbers(
                low=bound.high,
                low_open=not bound.high_open,
                high=bound.low,
                high_open=not bound.low_open,
            )
            for bound in read_bounds(location, schema)
        ]
        step = read_step(location, schema)
        if step is not None:
            parts.append(Numbers(steps=frozenset({(step, False)})))
        return [Clause(types=frozenset({"number"}), numbers=part) for part in parts]

    # -- strings

    def _string_tests(self, location: str, schema: Schema) -> list[tuple[str, str, bool]]:
        tests: list[tuple[str, str, bool]] = []
        for keyword in ("pattern", "format"):
            if keyword not in schema:
                continue
            value = schema[keyword]
            if not isinstance(value, str):
                raise wrong_value("a string", value, location, keyword)
            if keyword == "pattern":
                self._check_pattern(value, child(location, keyword))
            elif not self._assert_formats or value not in FORMATS:
                self.annotated[child(location, keyword)] = None
                continue
            tests.append((keyword, value, True))
        return tests

    def _check_pattern(self, pattern: str, where: str) -> None:
        try:
            test_term("pattern", pattern, self._ascii, True)
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
        low = read_count(location, schema, "minLength") or 0
        high = read_count(location, schema, "maxLength")
        tests = frozenset(self._string_tests(location, schema))
        return Clause(strings=Strings(tests, low, high)).reduced()

    def _not_string(self, location: str, schema: Schema) -> list[Clause]:
        low = read_count(location, schema, "minLength")
        high = read_count(location, schema, "maxLength")
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
            raise wrong_value("a list of schemas", prefix, location, prefix_word)
        places = [child(location, prefix_word, index) for index in range(len(prefix))]
        rest = self._reference(child(location, rest_word)) if rest_word in schema else ANYTHING
        return [self._reference(place) for place in places], rest

    def _demand(self, location: str, schema: Schema) -> Demand | None:
        if "contains" not in schema:
            return None
        low = read_count(location, schema, "minContains")
        high = read_count(location, schema, "maxContains")
        conj = self._reference(child(location, "contains"))
        return Demand(conj, 0, 1 if low is None else low, high, self._annotating)

    def _array(self, location: str, schema: Schema) -> Clause | None:
        prefix, rest = self._items(location, schema)
        low = read_count(location, schema, "minItems") or 0
        high = read_count(location, schema, "maxItems")
        demand = self._demand(location, schema)
        rest_word = "additionalItems" if isinstance(schema.get("items"), list) else "items"
        arrays = Arrays(
            tuple(prefix),
            rest,
            low,
            high,
            () if demand is None else (demand,),
            child(location, "uniqueItems") if read_flag(location, schema, "uniqueItems") else "",
            len(prefix) if self._annotating else 0,
            self._annotating and rest_word in schema,
        )
        return Clause(arrays=arrays).reduced()

    def _not_array(self, location: str, schema: Schema) -> list[Clause]:
        prefix, rest = self._items(location, schema)
        low = read_count(location, schema, "minItems")
        high = read_count(location, schema, "maxItems")
        demand = self._demand(location, schema)
        if read_flag(location, schema, "uniqueItems"):
            raise refuse("uniqueItems", location, "cannot be negated")
        parts: list[Arrays] = []
        if low:
            parts.append(Arrays(high=low - 1))
        if high is not None:
            parts.append(Arrays(low=high + 1))
        for index, item in enumerate(prefix):
            for contrary in _contraries(item):
                parts.append(Arrays((ANYTHING,) * index + (contrary,), low=index + 1))
        for contrary in _contraries(rest):
            parts.append(Arrays(demands=(Demand(contrary, len(prefix)),), low=len(prefix) + 1))
        if demand is not None and demand.low > 0:
            parts.append(Arrays(demands=(Demand(demand.conj, 0, 0, demand.low - 1),)))
        if demand is not None and demand.high is not None:
            parts.append(Arrays(demands=(Demand(demand.conj, 0, demand.high + 1),)))
        return [Clause(types=frozenset({"array"}), arrays=part) for part in parts]

    # -- objects

    def _members(self, location: str, schema: Schema) -> Members:
        named = tuple(
            (name, self._reference(child(location, "properties", name)))
            for name in read_table(location, schema, "properties")
        )
        for pattern in read_table(location, schema, "patternProperties"):
            self._check_pattern(pattern, child(location, "patternProperties", pattern))
        patterns = tuple(
            (pattern, self._reference(child(location, "patternProperties", pattern)))
            for pattern in read_table(location, schema, "patternProperties")
        )
        others = ANYTHING
        if "additionalProperties" in schema:
            others = self._reference(child(location, "additionalProperties"))
        return Members(
            named,
            patterns,
            others,
            seen=self._annotating and bool(named or patterns),
            all_seen=self._annotating and "additionalProperties" in schema,
        )

    def _object(self, location: str, schema: Schema) -> Clause | None:
        members = self._members(location, schema)
        names = ANYTHING
        if "propertyNames" in schema:
            names = self._reference(child(location, "propertyNames"))
        objects = Objects(
            () if members == Members() else (members,),
            names,
            read_names(location, schema, "required"),
            read_count(location, schema, "minProperties") or 0,
            read_count(location, schema, "maxProperties"),
        )
        return Clause(objects=objects).reduced()

    def _not_object(self, location: str, schema: Schema) -> list[Clause]:
        members = self._members(location, schema)
        low = read_count(location, schema, "minProperties")
        high = read_count(location, schema, "maxProperties")
        parts = [without(name) for name in read_names(location, schema, "required")]
        for name, conj in members.named:
            for contrary in _contraries(conj):
                parts.append(Objects((Members(((name, contrary),)),), required=(name,)))
        for pattern, conj in members.patterns:
            tests = frozenset({("pattern", pattern, True)})
            parts += [_existing(Exists(contrary, tests)) for contrary in _contraries(conj)]
        tests = frozenset(("pattern", pattern, False) for pattern, _ in members.patterns)
        but = frozenset(name for name, _ in members.named)
        for contrary in _contraries(members.others):
            parts.append(_existing(Exists(contrary, tests, ANYTHING, but)))
        if "propertyNames" in schema:
            names = self._reference(child(location, "propertyNames"))
            parts += [_existing(Exists(names=contrary)) for contrary in _contraries(names)]
        if low:
            parts.append(Objects(high=low - 1))
        if high is not None:
            parts.append(Objects(low=high + 1))
        return [Clause(types=frozenset({"object"}), objects=part) for part in parts]


def _existing(exists: Exists) -> Objects:
    return Objects(exists=(exists,), low=1)


def _contraries(conj: Conj) -> list[Conj]:
    """Conjunctions whose union is the complement of `conj`."""
    return [((literal[0], not literal[1]),) for literal in conj]


def _type_of(name: str) -> Type:
    found: Type = "number" if name == "integer" else name  # type: ignore[assignment]
    return found

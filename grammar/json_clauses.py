"""What a JSON Schema comes down to: a union of clauses, each a set of constraints per type.

A `Clause` holds the values that satisfy all its parts; a constraint on one type says nothing about
values of another (JSON Schema's rule). Clauses are closed under intersection (`meet`), which is all
that `allOf`, `$ref` with siblings and the products behind `oneOf`, `not` and `if` need.

Subschemas stay unexpanded inside a clause, as conjunctions of literals. A literal is a location in
the document (or a constant), taken as it is or negated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal as OneOf, TypeVar

from .json_numbers import ALL_NUMBERS, Numbers
from .json_text import Const

Type = OneOf["null", "boolean", "number", "string", "array", "object"]
TYPES: frozenset[Type] = frozenset(("null", "boolean", "number", "string", "array", "object"))

Literal = tuple[str | Const, bool]
"""(what, taken as it is): False negates it. What: a location in the document, a constant,
("nothing",), or ("either", conjunctions...)."""
Conj = tuple[Literal, ...]
"""All of these; empty: any value."""
ANYTHING: Conj = ()
NOTHING: Conj = ((("nothing",), True),)


_MAX_OUTSIDE = 2000


def both(a: Conj, b: Conj) -> Conj:
    """The values in both conjunctions."""
    if not a or not b or a == b:
        return a or b
    return tuple(dict.fromkeys(a + b))


def negated(literal: Literal) -> Literal:
    return (literal[0], not literal[1])


@dataclass(frozen=True)
class Strings:
    """tests: (kind, source, wanted): `("pattern", "^a", True)`, `("format", "date", False)`.
    low, high: length in characters."""

    tests: frozenset[tuple[str, str, bool]] = frozenset()
    low: int = 0
    high: int | None = None

    def meet(self, other: Strings) -> Strings:
        return Strings(
            self.tests | other.tests, max(self.low, other.low), least(self.high, other.high)
        )

    @property
    def empty(self) -> bool:
        return (self.high is not None and self.low > self.high) or any(
            (kind, source, not wanted) in self.tests for kind, source, wanted in self.tests
        )


@dataclass(frozen=True)
class Demand:
    """Of the items from `start` on, `low` to `high` are in `conj`.

    seen: these count as evaluated, for `unevaluatedItems`.
    """

    conj: Conj
    start: int = 0
    low: int = 1
    high: int | None = None
    seen: bool = False


@dataclass(frozen=True)
class Arrays:
    """Item i is in `prefix[i]`, or in `rest` beyond the prefix; low, high: number of items.

    unique: where `uniqueItems` stands, if no two items may be equal. seen: how many items from the
    start some keyword evaluated, for `unevaluatedItems`.
    """

    prefix: tuple[Conj, ...] = ()
    rest: Conj = ANYTHING
    low: int = 0
    high: int | None = None
    demands: tuple[Demand, ...] = ()
    unique: str = ""
    seen: int = 0
    all_seen: bool = False

    def item(self, index: int) -> Conj:
        return self.prefix[index] if index < len(self.prefix) else self.rest

    def meet(self, other: Arrays) -> Arrays:
        width = max(len(self.prefix), len(other.prefix))
        return Arrays(
            tuple(both(self.item(i), other.item(i)) for i in range(width)),
            both(self.rest, other.rest),
            max(self.low, other.low),
            least(self.high, other.high),
            tuple(dict.fromkeys(self.demands + other.demands)),
            self.unique or other.unique,
            max(self.seen, other.seen),
            self.all_seen or other.all_seen,
        )

    @property
    def empty(self) -> bool:
        if any(demand.high is not None and demand.low > demand.high for demand in self.demands):
            return True
        return self.high is not None and self.low > self.high


@dataclass(frozen=True)
class Members:
    """One schema's say over the members of an object: by name, by pattern, else `others`.

    seen: its names and patterns count as evaluated, for `unevaluatedProperties`; all_seen: so do
    all other members.
    """

    named: tuple[tuple[str, Conj], ...] = ()
    patterns: tuple[tuple[str, Conj], ...] = ()
    others: Conj = ANYTHING
    seen: bool = False
    all_seen: bool = False
    _by_name: dict[str, Conj] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        self._by_name.update(self.named)

    def get(self, name: str) -> Conj | None:
        return self._by_name.get(name)


@dataclass(frozen=True)
class Exists:
    """At least one member with a value in `value` and a name that passes `tests` (as in
    `Strings`), is in `names`, and is not one of `but`."""

    value: Conj = ANYTHING
    tests: frozenset[tuple[str, str, bool]] = frozenset()
    names: Conj = ANYTHING
    but: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Objects:
    """sources: every schema that speaks of members; names: what member names must be (as strings);
    required: names in order; low, high: number of members."""

    sources: tuple[Members, ...] = ()
    names: Conj = ANYTHING
    required: tuple[str, ...] = ()
    low: int = 0
    high: int | None = None
    exists: tuple[Exists, ...] = ()

    def meet(self, other: Objects) -> Objects:
        return Objects(
            tuple(dict.fromkeys(self.sources + other.sources)),
            both(self.names, other.names),
            tuple(dict.fromkeys(self.required + other.required)),
            max(self.low, other.low),
            least(self.high, other.high),
            tuple(dict.fromkeys(self.exists + other.exists)),
        )

    @property
    def empty(self) -> bool:
        return self.high is not None and max(self.low, len(self.required)) > self.high


ALL_STRINGS, ALL_ARRAYS, ALL_OBJECTS = Strings(), Arrays(), Objects()


@dataclass(frozen=True)
class Clause:
    """values: a finite set to choose from (None: no such limit); excluded: scalars ruled out."""

    types: frozenset[Type] = TYPES
    values: frozenset[Const] | None = None
    excluded: frozenset[Const] = frozenset()
    numbers: Numbers = ALL_NUMBERS
    strings: Strings = ALL_STRINGS
    arrays: Arrays = ALL_ARRAYS
    objects: Objects = ALL_OBJECTS

    def meet(self, other: Clause) -> Clause | None:
        """The values in both, or None where they surely share none."""
        if other == TOP:
            return self
        if self == TOP:
            return other
        values = self.values
        if other.values is not None:
            values = other.values if values is None else values & other.values
        return Clause(
            types=self.types & other.types,
            values=values,
            excluded=self.excluded | other.excluded,
            numbers=self.numbers.meet(other.numbers),
            strings=_meet(self.strings, other.strings, ALL_STRINGS),
            arrays=_meet(self.arrays, other.arrays, ALL_ARRAYS),
            objects=_meet(self.objects, other.objects, ALL_OBJECTS),
        ).reduced()

    def reduced(self) -> Clause | None:
        """The same values with impossible types and constants struck out; None if none are left."""
        types, values = self.types, self.values
        for name, part in (
            ("number", self.numbers),
            ("string", self.strings),
            ("array", self.arrays),
            ("object", self.objects),
        ):
            if name in types and part.empty:
                types = types - {name}
        if values is not None:
            values = frozenset(value for value in values if self._may_hold(value, types))
            types = types & {value[0] for value in values}
        if not types:
            return None
        if types is self.types and values is self.values:
            return self
        return Clause(
            types, values, self.excluded, self.numbers, self.strings, self.arrays, self.objects
        )

    def _may_hold(self, value: Const, types: frozenset[Type]) -> bool:
        if value[0] not in types or value in self.excluded:
            return False
        if value[0] == "number":
            return value[1] in self.numbers
        if value[0] == "string":
            length = len(value[1])
            return self.strings.low <= length and (
                self.strings.high is None or length <= self.strings.high
            )
        return True

    def unseen(self) -> Clause:
        """The same values, with nothing evaluated: what `not` passes on."""
        sources = tuple(
            replace(source, seen=False, all_seen=False) for source in self.objects.sources
        )
        demands = tuple(replace(demand, seen=False) for demand in self.arrays.demands)
        return replace(
            self,
            arrays=replace(self.arrays, demands=demands, seen=0, all_seen=False),
            objects=replace(self.objects, sources=tuple(dict.fromkeys(sources))),
        )


TOP = Clause()


_Part = TypeVar("_Part", Strings, Arrays, Objects)


def _meet(a: _Part, b: _Part, top: _Part) -> _Part:
    if b is top or b == top:
        return a
    return b if a is top or a == top else a.meet(b)


def without(name: str) -> Objects:
    """Objects that lack the member `name`."""
    return Objects((Members(((name, NOTHING),)),))


def outside(values: frozenset[Const]) -> list[Clause] | None:
    """Clauses whose union is every value but these; None where they would be too many."""
    composite = sorted((value for value in values if value[0] in ("array", "object")), key=repr)
    found = [Clause(excluded=values.difference(composite))]
    for value in composite:
        parts = _differing(value)
        if len(found) * len(parts) > _MAX_OUTSIDE:
            return None
        met = (clause.meet(part) for clause in found for part in parts)
        found = [clause for clause in met if clause is not None]
    return found


def _differing(value: Const) -> list[Clause]:
    """Clauses whose union is every value but one array or object."""
    kind: Type = value[0]
    found = [Clause(types=TYPES - {kind})]
    if kind == "array":
        size = len(value) - 1
        shapes = [Arrays(high=size - 1)] if size else []
        shapes.append(Arrays(low=size + 1))
        for index, item in enumerate(value[1:]):
            prefix = (ANYTHING,) * index + (((item, False),),)
            shapes.append(Arrays(prefix, low=index + 1))
        return found + [Clause(frozenset({kind}), arrays=shape) for shape in shapes]
    members = [Objects(exists=(Exists(but=frozenset(name for name, _ in value[1:])),), low=1)]
    for name, item in value[1:]:
        members.append(without(name))
        members.append(Objects((Members(((name, ((item, False),)),)),), required=(name,)))
    return found + [Clause(frozenset({kind}), objects=shape) for shape in members]


def least(a: int | None, b: int | None) -> int | None:
    """The smaller bound, None being infinite."""
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)

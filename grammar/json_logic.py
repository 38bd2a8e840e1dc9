"""From schemas to clauses: applicators as logic.

A schema, or its negation, expands to a union of clauses (disjunctive normal form). `allOf`, `$ref`
and siblings intersect; `anyOf` unites; `oneOf`, `not` and `if` are written with negation, exactly:
the branches of a `oneOf` that provably share no value are united, the others are taken less their
rivals. Where a needed negation does not exist, the keyword is refused by name.

Work is counted in clauses made; past the budget a GrammarError names where it happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from ..errors import GrammarError
from .json_applicators import APPLICATORS
from .json_assertions import Assertions
from .json_check import member
from .json_clauses import ANYTHING, NOTHING, TOP, Clause, Conj, Literal, negated, outside
from .json_document import Document, child
from .json_keywords import Refusal, Schema, refusals, refuse
from .json_text import Const
from .json_unevaluated import (
    unevaluated_items,
    unevaluated_members,
    violating_items,
    violating_members,
)

_MAX_CLAUSES = 20_000
_MAX_DEPTH = 60
_OPENED = 3
"""How many levels of members and items are opened to prove that a clause holds nothing."""


class Logic:
    """Expands conjunctions of literals of one document into clauses, once each."""

    def __init__(
        self, document: Document, *, assert_formats: bool, ascii: bool, lenient: bool
    ) -> None:
        self.document = document
        self.ascii = ascii
        self.lenient = lenient
        self.annotating = document.mentions("unevaluatedItems", "unevaluatedProperties")
        self._assertions = Assertions(
            self.reference, assert_formats=assert_formats, ascii=ascii, annotating=self.annotating
        )
        self._formats = assert_formats
        self.orders = self._assertions.orders
        self.annotated = self._assertions.annotated
        self._known: dict[Literal, list[Clause]] = {}
        self._expanded: dict[Conj, list[Clause]] = {}
        self._open: dict[Literal, None] = {}
        self._proving: set[Conj] = set()
        self._made = 0
        self.dropped: dict[str, None] = {}

    def reference(self, location: str) -> Conj:
        """The conjunction that stands for the schema at `location`, past plain references."""
        seen: set[str] = set()
        while (location := self.document.enter(location)) not in seen:
            seen.add(location)
            schema = self.document.at(location)
            if schema is True or schema == {}:
                return ANYTHING
            if schema is False:
                return NOTHING
            if "$ref" not in schema or (len(schema) > 1 and not self.document.legacy(location)):
                return ((location, True),)
            location = self.document.target(location, schema["$ref"])
        raise _NoProgress(location)

    def expand(self, conj: Conj) -> list[Clause]:
        """The clauses whose union is `conj`."""
        found = self._expanded.get(conj)
        if found is None:
            found = [TOP]
            for literal in conj:
                found = self.product(found, self._literal(literal))
            self._expanded[conj] = found
        return found

    def contrary(self, conj: Conj) -> list[Clause]:
        """The clauses whose union is the complement of `conj`."""
        found = self.union(*[self._literal(negated(literal)) for literal in conj])
        return _distinct(clause.unseen() for clause in found) if self.annotating else found

    # -- literals

    def _literal(self, literal: Literal) -> list[Clause]:
        found = self._known.get(literal)
        if found is not None:
            return found
        place, wanted = literal
        if not isinstance(place, str):
            return self._constant(literal)
        if literal in self._open:
            raise _NoProgress(place)
        if len(self._open) > _MAX_DEPTH:
            raise GrammarError(
                "schemas applied in place nest too deeply",
                expected=f"at most {_MAX_DEPTH} levels",
                where=place,
            )
        self._open[literal] = None
        try:
            schema = self.document.at(place)
            if isinstance(schema, bool):
                found = [TOP] if schema is wanted else []
            else:
                if "$ref" in schema and self.document.legacy(place):
                    schema = {"$ref": schema["$ref"]}
                for refusal in refusals(place, schema, assert_formats=self._formats):
                    if not wanted:  # what is dropped under a negation would widen to nothing
                        raise refusal
                    self.drop(refusal)
                found = (self._holds if wanted else self._fails)(place, schema)
        finally:
            del self._open[literal]
        self._known[literal] = found
        return found

    def _constant(self, literal: Literal) -> list[Clause]:
        value, wanted = literal
        assert not isinstance(value, str)
        if value[0] == "nothing":
            return [] if wanted else [TOP]
        if value[0] == "either":
            if wanted:
                return self.union(*[self.expand(conj) for conj in value[1:]])
            found = [TOP]
            for conj in value[1:]:
                found = self.product(found, self.contrary(conj))
            return found
        clause = Clause(values=frozenset({value})).reduced()
        if wanted:
            return [] if clause is None else [clause]
        outer = outside(frozenset({value}))
        assert outer is not None
        return outer

    def _holds(self, location: str, schema: Schema) -> list[Clause]:
        """Clauses of the values that satisfy the schema."""
        found = self._evaluated(location, schema)
        return self._unevaluated(location, schema, found) if self.annotating else found

    def _evaluated(self, location: str, schema: Schema) -> list[Clause]:
        """Clauses of the values that satisfy all but its `unevaluated*`."""
        clause = self._assertions.clause(location, schema)
        found = [] if clause is None else [clause]
        for keyword, (holds, _) in APPLICATORS.items():
            if keyword in schema and found:
                try:
                    found = self.product(found, holds(self, location, schema))
                except Refusal as refusal:
                    self.drop(refusal)
        return found

    def _unevaluated(self, location: str, schema: Schema, found: list[Clause]) -> list[Clause]:
        """Bind what the schema's own keywords, and those applied in place, left unevaluated.

        A clause of an `anyOf` exists for every set of branches that may hold together, so the one
        that evaluates most is among them.
        """
        for keyword, bound in (
            ("unevaluatedProperties", unevaluated_members),
            ("unevaluatedItems", unevaluated_items),
        ):
            if keyword in schema:
                conj = self.reference(child(location, keyword))
                met = (clause.meet(bound(clause, conj)) for clause in found)
                found = _distinct(clause for clause in met if clause is not None)
        return found

    def _fails(self, location: str, schema: Schema) -> list[Clause]:
        """Clauses of the values that do not satisfy the schema."""
        found = self._assertions.contraries(location, schema)
        for keyword, (_, fails) in APPLICATORS.items():
            if keyword in schema:
                found = self.union(found, fails(self, location, schema))
        for keyword, violated in (
            ("unevaluatedProperties", violating_members),
            ("unevaluatedItems", violating_items),
        ):
            if keyword in schema and (conj := self.reference(child(location, keyword))):
                broken = violated(self._evaluated(location, schema), conj)
                if broken is None:
                    why = "cannot be negated where alternatives evaluate different parts"
                    raise refuse(keyword, location, why)
                found = self.union(found, broken)
        return found

    def drop(self, refusal: Refusal) -> None:
        """Note a keyword as dropped if the caller is lenient; raise its refusal if not."""
        if not self.lenient:
            raise refusal
        self.dropped[refusal.where or "#"] = None

    # -- clauses

    def product(self, a: list[Clause], b: list[Clause]) -> list[Clause]:
        if len(a) == 1 and a[0] == TOP:
            return b
        if len(b) == 1 and b[0] == TOP:
            return a
        self._count(len(a) * len(b))
        return _distinct(clause for x in a for y in b if (clause := x.meet(y)) is not None)

    def union(self, *parts: list[Clause]) -> list[Clause]:
        self._count(sum([len(part) for part in parts]))
        return _distinct(chain.from_iterable(parts))

    def _count(self, made: int) -> None:
        self._made += made
        if self._made > _MAX_CLAUSES:
            places = [place for place, _ in self._open if isinstance(place, str)]
            raise GrammarError(
                "the schema branches into too many cases",
                expected=f"at most {_MAX_CLAUSES:,} combinations of alternatives",
                where=places[-1] if places else "#",
                hint="Split the alternatives by `type` or by a required `const` member",
            )

    # -- emptiness

    def empty(self, conj: Conj, depth: int = _OPENED) -> bool:
        """True only where no value can satisfy `conj`, as far as `depth` levels tell."""
        if conj == NOTHING:
            return True
        if not conj or conj in self._proving:
            return False
        self._proving.add(conj)
        try:
            return all(self.clause_empty(clause, depth) for clause in self.expand(conj))
        except _NoProgress:  # it is being expanded: nothing is known of it yet
            return False
        finally:
            self._proving.discard(conj)

    def constants(self, conj: Conj) -> frozenset[Const] | None:
        """The values in `conj` where they are a list of constants; None where they are not, or
        where that is not known yet."""
        try:
            sets = [clause.values for clause in self.expand(conj)]
        except _NoProgress:
            return None
        known = [values for values in sets if values is not None]
        return frozenset[Const]().union(*known) if len(known) == len(sets) else None

    def clause_empty(self, clause: Clause, depth: int = _OPENED) -> bool:
        """True only where no value can satisfy `clause`."""
        if not clause.types <= {"array", "object"} or clause.values is not None:
            return False
        return all(
            self._no_array(clause, depth) if name == "array" else self._no_object(clause, depth)
            for name in clause.types
        )

    def _no_array(self, clause: Clause, depth: int) -> bool:
        arrays = clause.arrays
        if depth == 0:
            return False
        needed = arrays.prefix[: arrays.low]
        if arrays.low > len(needed):
            needed = (*needed, arrays.rest)
        return any(self.empty(item, depth - 1) for item in needed)

    def _no_object(self, clause: Clause, depth: int) -> bool:
        if depth == 0:
            return False
        return any(
            self.empty(member(self, clause.objects, name), depth - 1)
            for name in clause.objects.required
        )

    def disjoint(self, a: list[Clause], b: list[Clause]) -> bool:
        """True only where no value is in both unions."""
        self._count(len(a) * len(b))
        return all((clause := x.meet(y)) is None or self.clause_empty(clause) for x in a for y in b)


def _distinct(clauses: Iterable[Clause]) -> list[Clause]:
    return list(dict.fromkeys(clauses))


class _NoProgress(GrammarError):
    """A schema is asked for while it is being expanded."""

    def __init__(self, location: str) -> None:
        super().__init__(
            "the schema refers to itself in place, without a value in between",
            where=location,
            hint="Recursion must pass through a member or an item",
        )

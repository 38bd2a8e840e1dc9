"""`unevaluatedProperties` and `unevaluatedItems`: what a clause's keywords left over.

A clause knows the keywords it comes from: the names and patterns its `properties` and
`patternProperties` spoke of, how long its prefixes are, what its `contains` counted. What they did
not reach must satisfy the keyword's schema. Nothing seen under a negation counts.

The contrary: some part that was not reached is outside that schema. A value may satisfy several
clauses, and the one that evaluates most decides; so the contrary is known where all clauses
evaluate the same, or none of them binds anything.
"""

from __future__ import annotations

from dataclasses import replace

from .json_clauses import (
    ALL_ARRAYS,
    ANYTHING,
    NOTHING,
    TOP,
    Arrays,
    Clause,
    Conj,
    Demand,
    Exists,
    Members,
    Objects,
    negated,
)


def unevaluated_members(clause: Clause, conj: Conj) -> Clause:
    """Members that no seen keyword of the clause evaluated are in `conj`; now all are seen."""
    sources = clause.objects.sources
    if any(source.all_seen for source in sources):
        return Clause()
    seen = [source for source in sources if source.seen]
    names = dict.fromkeys(name for source in seen for name, _ in source.named)
    patterns = dict.fromkeys(pattern for source in seen for pattern, _ in source.patterns)
    rest = Members(
        tuple((name, ANYTHING) for name in names),
        tuple((pattern, ANYTHING) for pattern in patterns),
        conj,
        seen=True,
        all_seen=True,
    )
    return Clause(objects=Objects((rest,)))


def unevaluated_items(clause: Clause, conj: Conj) -> Clause:
    """Items that no seen keyword of the clause evaluated are in `conj`; now all are seen."""
    arrays = clause.arrays
    if arrays.all_seen:
        return Clause()
    counted = [demand.conj for demand in arrays.demands if demand.seen]
    if counted and conj:
        conj = ((("either", conj, *counted), True),)
    return Clause(arrays=Arrays((ANYTHING,) * arrays.seen, conj, seen=arrays.seen, all_seen=True))


def violating_members(clauses: list[Clause], conj: Conj) -> list[Clause] | None:
    """Where `clauses` hold, but some unevaluated member is outside `conj`: clauses to unite with
    their contrary; None where they are not known."""
    parts: dict[Objects | None, None] = {}
    for clause in clauses:
        sources = clause.objects.sources
        if "object" not in clause.types:
            continue
        if any(source.all_seen for source in sources):
            parts[None] = None
            continue
        seen = [source for source in sources if source.seen]
        exists = Exists(
            _outside(conj),
            frozenset(("pattern", pattern, False) for one in seen for pattern, _ in one.patterns),
            ANYTHING,
            frozenset(name for one in seen for name, _ in one.named),
        )
        parts[Objects(exists=(exists,), low=1)] = None
    known = [
        part if part is None else Clause(frozenset({"object"}), objects=part) for part in parts
    ]
    return _all(known, clauses)


def violating_items(clauses: list[Clause], conj: Conj) -> list[Clause] | None:
    """As `violating_members`, for the items of arrays."""
    parts: dict[Arrays | None, None] = {}
    for clause in clauses:
        arrays = clause.arrays
        if "array" not in clause.types:
            continue
        if arrays.all_seen:
            parts[None] = None
            continue
        counted = [demand.conj for demand in arrays.demands if demand.seen]
        demand = Demand(_outside(conj, *counted), arrays.seen)
        parts[Arrays(demands=(demand,), low=arrays.seen + 1)] = None
    known = [part if part is None else Clause(frozenset({"array"}), arrays=part) for part in parts]
    return _all(known, clauses)


def _all(parts: list[Clause | None], clauses: list[Clause]) -> list[Clause] | None:
    """What all the parts say, of which None says that nothing is violated."""
    if len(parts) > 1 and not all(map(_binds_nothing, clauses)):
        return None
    found = TOP
    for part in parts:
        both = None if part is None else found.meet(part)
        if both is None:
            return []
        found = both
    return [found] if parts else []


def _binds_nothing(clause: Clause) -> bool:
    """Whether the clause only tells what was evaluated."""
    arrays, sources = clause.arrays, clause.objects.sources
    unbound = not any(arrays.prefix) and not any(
        value
        for source in sources
        for value in (*dict(source.named).values(), *dict(source.patterns).values(), source.others)
    )
    plain = replace(arrays, prefix=(), seen=0, all_seen=False)
    bare = replace(clause, arrays=plain, objects=replace(clause.objects, sources=()))
    return unbound and plain == ALL_ARRAYS and bare == TOP


def _outside(conj: Conj, *others: Conj) -> Conj:
    """What is in none of these."""
    if not others and conj == NOTHING:
        return ANYTHING
    if not others and len(conj) == 1:
        return (negated(conj[0]),)
    return ((("either", conj, *others), False),)

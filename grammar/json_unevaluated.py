"""`unevaluatedProperties` and `unevaluatedItems`: what a clause's keywords left over.

A clause knows the keywords it comes from: the names and patterns its `properties` and
`patternProperties` spoke of, how long its prefixes are, what its `contains` counted. What they did
not reach must satisfy the keyword's schema. Nothing seen under a negation counts.
"""

from __future__ import annotations

from .json_clauses import ANYTHING, Arrays, Clause, Conj, Members, Objects


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

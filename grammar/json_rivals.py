"""Which branches of a `oneOf` may share values.

Schemas of events and resources have hundreds, too many to test every pair. Most tell their branches
apart by constants, or by a required member that is one (`kind`): branches are filed under what they
may be, and only those that meet in a file are tested.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from .json_check import member
from .json_clauses import Clause, Conj, Type
from .json_text import Const

if TYPE_CHECKING:
    from .json_logic import Logic

_Files = dict[Type, set[Hashable] | None]
"""What a branch may be, by type: some constants, or (None) whatever."""


def rivals(logic: Logic, parts: list[Conj]) -> list[list[int]]:
    """For each branch, the branches that may share values with it."""
    branches = [logic.expand(part) for part in parts]
    found: list[list[int]] = [[] for _ in parts]
    tag = _tag(logic, branches)
    for i, j in _pairs([_files(logic, branch, tag) for branch in branches]):
        if not logic.disjoint(branches[i], branches[j]):
            found[i].append(j)
            found[j].append(i)
    return found


def _pairs(filed: list[_Files]) -> Iterator[tuple[int, int]]:
    """Each two branches that meet in a file, the later one first."""
    every: dict[Type, list[int]] = defaultdict(list)
    whatever: dict[Type, list[int]] = defaultdict(list)
    constants: dict[tuple[Type, Hashable], list[int]] = defaultdict(list)
    for number, files in enumerate(filed):
        others: set[int] = set()
        for type, values in files.items():
            others.update(every[type] if values is None else whatever[type])
            for value in values or ():
                others.update(constants[type, value])
        yield from ((number, other) for other in sorted(others))
        for type, values in files.items():
            every[type].append(number)
            if values is None:
                whatever[type].append(number)
            for value in values or ():
                constants[type, value].append(number)


def _files(logic: Logic, branch: list[Clause], tag: str | None) -> _Files:
    found: _Files = {}
    for clause in branch:
        for type in clause.types:
            values: frozenset[Const] | None = None
            if clause.values is not None and type not in ("array", "object"):
                values = frozenset(value for value in clause.values if value[0] == type)
            elif type == "object" and tag is not None:
                values = _tagged(logic, clause, tag)
            known = found.setdefault(type, set())
            found[type] = None if known is None or values is None else known | values
    return found


def _tag(logic: Logic, branches: list[list[Clause]]) -> str | None:
    """The member that tells most branches apart: required, and one of a few constants."""
    names = Counter(
        name
        for branch in branches
        for clause in branch
        if "object" in clause.types
        for name in clause.objects.required
        if _tagged(logic, clause, name) is not None
    )
    return max(names, key=lambda name: names[name], default=None)


def _tagged(logic: Logic, clause: Clause, name: str) -> frozenset[Const] | None:
    """The constants that the clause's objects may have as this member."""
    if clause.values is not None or name not in clause.objects.required:
        return None
    return logic.constants(member(logic, clause.objects, name))

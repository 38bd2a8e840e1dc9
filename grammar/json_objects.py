"""Objects: members in declared or any order, then the additional ones.

Declared order. Let m1..mn be the declared members. If one is required, the members before the first
required one carry their comma behind them and those after it in front, so the whole is one flat
sequence of n parts. If none is, the texts are nothing or `nonempty(m1..mn)`, halved recursively:
either the left half is not empty and each of the right may follow, or only the right half is there.
That is O(n log n). Limits on the number of members, and any order, take a rule per state: members
left and members counted.

Names are written canonically, and the additional names exclude all declared ones, so no declared
name appears twice. Additional names may repeat (json_additional says why that does no harm).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GrammarError
from . import ir
from .json_additional import additional, compatible
from .json_check import member, name_exists
from .json_clauses import Conj, Exists, Objects, both, least
from .json_states import State, states_expr
from .json_text import Part, optional, sequence

if TYPE_CHECKING:
    from .json_build import Builder

MAX_ANY_ORDER = 10
_INLINE = 16
_MAX_EXISTS = 3


@dataclass(frozen=True)
class _Member:
    name: str
    conj: Conj
    parts: tuple[Part, ...]
    required: bool


@dataclass(frozen=True)
class _Shape:
    """names: all that are spoken of by name; declared: those that are possible, in order; extra:
    any additional member, or None; low, high: how many."""

    names: list[str]
    declared: list[_Member]
    extra: ir.Expr | None
    low: int
    high: int | None


def object_expr(build: Builder, rule: str, objects: Objects) -> ir.Expr:
    """The JSON texts of the objects; an expression without alternatives where there are none."""
    shape = _shape(build, rule, objects)
    if shape is None:
        return build.NOTHING
    if len(objects.exists) > _MAX_EXISTS:
        raise GrammarError(
            "an object that too many negated schemas ask a member of",
            expected=f"at most {_MAX_EXISTS}",
            where=rule,
        )
    objects = compatible(build, rule, objects, shape.names)
    any_order = build.any_order and len(shape.declared) + (shape.extra is not None) > 1
    if any_order and len(shape.declared) > MAX_ANY_ORDER:
        raise GrammarError(
            f"an object with {len(shape.declared)} properties in any order",
            expected=f"at most {MAX_ANY_ORDER}",
            where=rule,
            hint='Use property_order="declared"',
        )
    counted = shape.declared and (shape.low > 1 or shape.high is not None)
    if any_order or counted or objects.exists:
        automaton = _Counting(build, rule, objects, shape, any_order=any_order)
        return states_expr(build, rule, "{}", automaton)
    return _in_order(build, rule, shape)


def _shape(build: Builder, rule: str, objects: Objects) -> _Shape | None:
    """What the members are, or None where no object fits."""
    names = [name for source in objects.sources for name, _ in source.named]
    required = set(objects.required)
    declared: list[_Member] = []
    all_names = list(dict.fromkeys([*names, *objects.required]))
    for name in all_names:
        conj = member(build.logic, objects, name)
        value = build.value(conj)
        if build.nothing(value):
            if name in required:
                build.blame(rule, name)
                return None
            continue
        parts = (*build.layout.name(name), value)
        declared.append(_Member(name, conj, parts, name in required))
    extra = additional(build, rule, objects, all_names, [], [])
    low = max(objects.low, sum(item.required for item in declared))
    high = objects.high
    if extra is None:
        high = least(high, len(declared))
    if high is not None and low > high:
        return None
    if high == 0:
        extra, declared = None, []
    if extra is not None and low > max(1, sum(item.required for item in declared)):
        raise GrammarError(
            "`minProperties` is not supported beside additional properties: names could repeat",
            where=rule,
            hint='Set "additionalProperties": false or list the names under `required`',
        )
    if low <= sum(item.required for item in declared):
        low = 0
    if extra is None and high is not None and high >= len(declared):
        high = None
    return _Shape(all_names, declared, extra, low, high)


# -- declared order --------------------------------------------------------------------------------


def _in_order(build: Builder, rule: str, shape: _Shape) -> ir.Expr:
    layout = build.layout
    first = next((i for i, item in enumerate(shape.declared) if item.required), None)
    if first is not None:
        parts: list[Part] = [*layout.opening("{")]
        for item in shape.declared[:first]:
            parts.append(optional(sequence([*item.parts, layout.comma])))
        parts += shape.declared[first].parts
        parts += _followers(build, shape, first + 1, len(shape.declared), last=True)
        return sequence([*parts, *layout.closing("}")])
    body = _nonempty(build, rule, shape, 0, len(shape.declared), last=True)
    if body is None:
        return sequence([*layout.opening("{"), ir.Lit("}")])
    inside = sequence([body, layout.space])
    return sequence([*layout.opening("{"), inside if shape.low else optional(inside), ir.Lit("}")])


def _followers(build: Builder, shape: _Shape, start: int, stop: int, *, last: bool) -> list[Part]:
    """The members from `start` to `stop` (and the additional ones, if `last`) after another one."""
    comma = build.layout.comma
    parts: list[Part] = []
    for item in shape.declared[start:stop]:
        if item.required:
            parts += [comma, *item.parts]
        else:
            parts.append(optional(sequence([comma, *item.parts])))
    if last and shape.extra is not None:
        parts.append(ir.Loop(sequence([comma, shape.extra]), 0, None))
    return parts


def _segment(
    build: Builder, rule: str, shape: _Shape, start: int, stop: int, *, last: bool
) -> list[Part]:
    """As `_followers`, all optional; wide segments are rules, halved, so that they are shared."""
    if stop - start <= _INLINE:
        return _followers(build, shape, start, stop, last=last)
    name = f"{rule}@{start}-{stop}"
    if name not in build.rules:
        middle = (start + stop + 1) // 2
        left = _segment(build, rule, shape, start, middle, last=False)
        right = _segment(build, rule, shape, middle, stop, last=last)
        build.define(name, sequence([*left, *right]))
    return [ir.Ref(name)]


def _nonempty(
    build: Builder, rule: str, shape: _Shape, start: int, stop: int, *, last: bool
) -> ir.Expr | None:
    """At least one of the optional members from `start` to `stop`; None where there is none."""
    if stop - start == 1 and not (last and shape.extra is not None):
        return sequence(list(shape.declared[start].parts))
    if start == stop:
        if not last or shape.extra is None:
            return None
        most = None if shape.high is None else shape.high - 1
        more = ir.Loop(sequence([build.layout.comma, shape.extra]), 0, most)
        return sequence([shape.extra, *([] if most == 0 else [more])])
    middle = (start + stop + 1) // 2
    left = _nonempty(build, rule, shape, start, middle, last=False)
    right = _nonempty(build, rule, shape, middle, stop, last=last)
    if left is not None:
        left = sequence([left, *_segment(build, rule, shape, middle, stop, last=last)])
    choices = [side for side in (left, right) if side is not None]
    return choices[0] if len(choices) == 1 else ir.Choice(tuple(choices))


# -- any order, and limits on the number of members ------------------------------------------------


class _Counting:
    """Objects by states: which declared members were written (a set in any order, else the last
    one), how many members, which of `exists` they have met, and which of these an additional member
    met by its value."""

    def __init__(
        self, build: Builder, rule: str, objects: Objects, shape: _Shape, *, any_order: bool
    ) -> None:
        self._build = build
        self._rule = rule
        self._objects = objects
        self._shape = shape
        self._any_order = any_order
        self._counts = shape.low > 0 or shape.high is not None
        self._cap = max(shape.low, 0 if shape.high is None else shape.high + 1)
        self._names = [item.name for item in shape.declared]
        self._by_value = sum(1 << i for i, one in enumerate(objects.exists) if one.value)
        self._extras: dict[tuple[int, int], ir.Expr | None] = {(0, 0): shape.extra}
        self._written: dict[tuple[str, int], list[tuple[list[Part], int]]] = {}
        self.start: State = (0 if any_order else -1, 0, 0, 0)

    def steps(self, state: State) -> Iterator[tuple[list[Part], State]]:
        done, count, met, kept = state
        high = self._shape.high
        if high is not None and count >= high:
            return
        after = min(count + 1, self._cap) if self._counts else 0
        blocked = False
        for index, item in enumerate(self._shape.declared):
            used = done >> index & 1 if self._any_order else index <= done
            if used or blocked:
                continue
            place = done | 1 << index if self._any_order else index
            for parts, now in self._member(item, met):
                yield parts, (place, after, now, kept)
            blocked = item.required and not self._any_order
        if not blocked:
            place = done if self._any_order else len(self._shape.declared)
            for wanted in self._subsets(met):
                extra = self._extra(wanted, kept)
                if extra is not None:
                    keeping = kept | wanted & self._by_value
                    yield [extra], (place, after, met | wanted, keeping)

    def may_end(self, state: State) -> bool:
        done, count, met, _ = state
        if count < self._shape.low or met + 1 != 1 << len(self._objects.exists):
            return False
        return not any(
            item.required and not (done >> index & 1 if self._any_order else index <= done)
            for index, item in enumerate(self._shape.declared)
        )

    def _subsets(self, met: int) -> Iterator[int]:
        """Sets of what is not met yet, the empty one first."""
        for wanted in range(1 << len(self._objects.exists)):
            if not wanted & met:
                yield wanted

    def _chosen(self, wanted: int) -> list[Exists]:
        return [one for i, one in enumerate(self._objects.exists) if wanted >> i & 1]

    def _member(self, item: _Member, met: int) -> list[tuple[list[Part], int]]:
        """What `_declared` finds, once."""
        found = self._written.get((item.name, met))
        if found is None:
            found = self._written[item.name, met] = list(self._declared(item, met))
        return found

    def _declared(self, item: _Member, met: int) -> Iterator[tuple[list[Part], int]]:
        """A declared member, plain or such that it meets more of `exists`."""
        logic = self._build.logic
        for wanted in self._subsets(met):
            conj = item.conj
            for exists in self._chosen(wanted):
                if not name_exists(logic, exists, item.name):
                    break
                conj = both(conj, exists.value)
            else:
                value = self._build.value(conj)
                if not self._build.nothing(value):
                    yield [*self._build.layout.name(item.name), value], met | wanted

    def _extra(self, wanted: int, kept: int) -> ir.Expr | None:
        key = (wanted, kept)
        if key not in self._extras:
            meets, keeps = self._chosen(wanted), self._chosen(kept)
            names = self._shape.names
            self._extras[key] = additional(
                self._build, self._rule, self._objects, names, meets, keeps
            )
        return self._extras[key]

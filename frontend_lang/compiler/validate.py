"""Whether a graph that somebody wrote makes sense: every op names what is there when it runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import EspalierError, InvalidRequestError
from ...types import check_names
from ..choices import METHODS
from ..options import check_fields
from ..primitives import ROLES, _checked_choices as checked_choices
from ..where import Where
from . import ir

_FIELD = re.compile(r"(?!_)\w+")
_LONGEST, _WIDEST = 64, 1_000  # of a format: characters, and what it may ask for
_PARAMS = (*check_fields({}).__struct_fields__,)


def validated(graph: ir.Graph) -> ir.Graph:
    """The graph as it is. Raises InvalidRequestError, with the op's line, where an op names a
    stream, a value or an argument that is not there, or holds what its call would refuse."""
    arguments = {parameter.name for parameter in graph.parameters}
    for block in ir.blocks(graph.block):
        if block.switch is not None and not block.switch.cases:
            raise _wrong(block.switch.where, "a switch with cases", "none")
    for chain, switches, returns in whole_ways(graph.block):
        seen = _Seen(arguments)
        for at, op in enumerate(chain):
            for switch in switches.get(at, ()):
                seen.slot(switch.slot, switch.where)
            seen.op(op)
        for switch in switches.get(len(chain), ()):
            seen.slot(switch.slot, switch.where)
        for slot in ir.slots(returns):
            seen.slot(slot, graph.where)
        _tables(returns, graph.where)
    return graph


def whole_ways(
    block: ir.Block,
) -> Sequence[tuple[list[ir.Op], dict[int, list[ir.Switch]], ir.Data]]:
    """The ops of each way to its end, the switches by how many ops stand before them, and what it
    returns."""
    found = []
    todo: list[tuple[list[ir.Op], dict[int, list[ir.Switch]], ir.Block]] = [([], {}, block)]
    while todo:
        before, switches, each = todo.pop()
        chain = [*before, *each.ops]
        if each.switch is None:
            found.append((chain, switches, each.returns))
            continue
        here = {**switches, len(chain): [*switches.get(len(chain), ()), each.switch]}
        todo.extend((chain, here, case.block) for case in each.switch.cases)
    return found


class _Seen:
    """What is there so far on one way."""

    def __init__(self, arguments: set[str]) -> None:
        self._arguments = arguments
        self._streams = {0}
        self._forked_from: dict[int, int] = {}
        self._values: set[int] = set()
        self._scopes: set[tuple[int, str]] = set()

    def slot(self, slot: ir.Slot, where: str) -> None:
        if (slot.value is None) == (slot.argument is None):
            raise _wrong(where, "a slot of a value or of an argument", repr(slot))
        if slot.argument is not None and slot.argument not in self._arguments:
            raise _wrong(where, "an argument of the program", repr(slot.argument))
        for key in slot.path:
            field = isinstance(key, str) and key.startswith(".")
            known = not isinstance(key, str) or key.startswith("=")
            if not known and not (field and _FIELD.fullmatch(key[1:])):  # type: ignore[index]
                raise _wrong(
                    where, "an item of a value, or an attribute that is not its own", str(key)
                )
        wide = any(int(number) > _WIDEST for number in re.findall(r"\d+", slot.spec))
        if len(slot.spec) > _LONGEST or wide:
            raise InvalidRequestError(
                expected=f"a format of widths up to {_WIDEST}",
                got=repr(slot.spec)[:80],
                where=where,
            )
        if slot.value is not None and slot.value not in self._values:
            raise _wrong(where, "a value that is there", f"value {slot.value}")

    def op(self, op: ir.Op) -> None:
        if op.stream not in self._streams:
            raise _wrong(op.where, "a stream that is there", f"stream {op.stream}")
        for slot in ir.slots_of(op):
            self.slot(slot, op.where)
        for data in ir.data_of(op):
            _tables(data, op.where)
        try:
            self._check(op)
        except EspalierError as error:
            inner = error.where
            raise InvalidRequestError(
                error.message,
                expected=error.expected,
                got=error.got,
                where=op.where if inner in (None, op.where) else f"{op.where}, {inner}",
                hint=error.hint,
            ) from error
        value = getattr(op, "value", None)
        if value is not None:
            self._give(value, op)

    def _give(self, value: int, op: ir.Op) -> None:
        """A value has one giver: who waits for one that comes later might wait for itself."""
        if value in self._values:
            raise _wrong(op.where, "a value that is new", f"value {value}")
        self._values.add(value)

    def _check(self, op: ir.Op) -> None:
        match op:
            case ir.Generate(params=params, reasoning=reasoning):
                check_names("gen", params, _PARAMS)
                check_fields(params)
                if reasoning is not None:
                    self._reasoning(reasoning, op)
            case ir.Choose(choices=choices, method=method, temperature=temperature, seed=seed):
                texts = ["".join(map(str, pieces)) for pieces in choices]
                checked_choices(texts, Where("", 0))
                check_fields({"temperature": temperature, "seed": seed})
                if method is not None and method not in METHODS:
                    raise _wrong(op.where, "one of " + ", ".join(METHODS), repr(method))
            case ir.Role(role=role) if role not in ROLES:
                raise _wrong(op.where, "one of " + ", ".join(ROLES), repr(role))
            case ir.Scope(name=name, value=None):
                self._scopes.add((op.stream, name))
            case ir.Scope(name=name):
                if (op.stream, name) not in self._scopes:
                    raise _wrong(op.where, "a scope that is open", repr(name))
                self._scopes.discard((op.stream, name))
            case ir.Fork(branches=branches):
                if not branches or self._streams & set(branches):
                    raise _wrong(op.where, "streams that are new", repr(branches))
                if len(set(branches)) < len(branches):
                    raise _wrong(op.where, "streams that are new, each once", repr(branches))
                self._streams.update(branches)
                self._forked_from.update(dict.fromkeys(branches, op.stream))
            case ir.Join():
                self._join(op)
            case _:
                pass

    def _join(self, op: ir.Join) -> None:
        own = {branch for branch in op.branches if self._forked_from.get(branch) == op.stream}
        if not own or len(own) < len(op.branches):
            raise _wrong(op.where, "streams that this one forked, each once", repr(op.branches))
        if not set(op.keeps) <= set(range(len(op.branches))):
            raise _wrong(op.where, "branches of the join", repr(op.keeps))
        for value in op.names.values():
            self._give(value, op)

    def _reasoning(self, form: ir.Reasoning, op: ir.Generate) -> None:
        if not form.start or not form.end or form.tool == "":
            raise _wrong(op.where, "marks of reasoning that are not empty", repr(form))
        if op.name is None:
            raise _wrong(op.where, "a name for a value with reasoning", "none")
        self._give(form.value, op)


def _tables(data: ir.Data, where: str) -> None:
    """Raise for a dict that none can be made of."""
    if isinstance(data, ir.Table):
        plain = all(key is None or type(key) in (bool, int, float, str) for key in data.keys)
        if not plain or len(data.keys) != len(data.items):
            raise _wrong(where, "a dict's keys, and a value for each", repr(data.keys))
    if isinstance(data, ir.Items | ir.Table):
        for item in data.items:
            _tables(item, where)


def _wrong(where: str, expected: str, got: str) -> InvalidRequestError:
    return InvalidRequestError(
        "the compiled program makes no sense", expected=expected, got=got[:80], where=where
    )

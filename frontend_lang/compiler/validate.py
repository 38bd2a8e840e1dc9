"""Whether a graph that somebody wrote makes sense: every op names what is there when it runs."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import EspalierError, InvalidRequestError
from ...types import check_names
from ..choices import METHODS
from ..options import check_fields
from ..primitives import ROLES, _checked_choices as checked_choices
from ..where import Where
from . import ir

_PARAMS = (*check_fields({}).__struct_fields__,)


def validated(graph: ir.Graph) -> ir.Graph:
    """The graph as it is. Raises InvalidRequestError, with the op's line, where an op names a
    stream, a value or an argument that is not there, or holds what its call would refuse."""
    arguments = {parameter.name for parameter in graph.parameters}
    for block in ir.blocks(graph.block):
        if block.switch is not None and not block.switch.cases:
            raise _wrong(block.switch.where, "a switch with cases", "none")
    for chain, switches, returns in _ways(graph.block):
        seen = _Seen(arguments)
        for at, op in enumerate(chain):
            for switch in switches.get(at, ()):
                seen.slot(switch.slot, switch.where)
            seen.op(op)
        for switch in switches.get(len(chain), ()):
            seen.slot(switch.slot, switch.where)
        for slot in ir.slots(returns):
            seen.slot(slot, graph.where)
    return graph


def _ways(
    block: ir.Block,
) -> Sequence[tuple[list[ir.Op], dict[int, list[ir.Switch]], ir.Data]]:
    """The ops of each way, the switches by how many ops stand before them, and what it returns."""
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
        self._values: set[int] = set()
        self._scopes: set[tuple[int, str]] = set()

    def slot(self, slot: ir.Slot, where: str) -> None:
        if (slot.value is None) == (slot.argument is None):
            raise _wrong(where, "a slot of a value or of an argument", repr(slot))
        if slot.argument is not None and slot.argument not in self._arguments:
            raise _wrong(where, "an argument of the program", repr(slot.argument))
        if slot.value is not None and slot.value not in self._values:
            raise _wrong(where, "a value that is there", f"value {slot.value}")

    def op(self, op: ir.Op) -> None:
        if op.stream not in self._streams:
            raise _wrong(op.where, "a stream that is there", f"stream {op.stream}")
        for slot in ir.slots_of(op):
            self.slot(slot, op.where)
        try:
            self._check(op)
        except EspalierError as error:
            raise InvalidRequestError(error.message or str(error), where=op.where) from error
        value = getattr(op, "value", None)
        if value is not None:
            self._values.add(value)

    def _check(self, op: ir.Op) -> None:
        match op:
            case ir.Generate(params=params, reasoning=reasoning):
                check_names("gen", params, _PARAMS)
                check_fields(params)
                if reasoning is not None:
                    self._values.add(reasoning.value)
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
                self._streams.update(branches)
            case ir.Join(branches=branches, keeps=keeps, names=names):
                if not branches or not set(branches) <= self._streams - {op.stream}:
                    raise _wrong(op.where, "streams that are there", repr(branches))
                if not set(keeps) <= set(range(len(branches))):
                    raise _wrong(op.where, "branches of the join", repr(keeps))
                self._values.update(names.values())
            case _:
                pass


def _wrong(where: str, expected: str, got: str) -> InvalidRequestError:
    return InvalidRequestError(
        "the compiled program makes no sense", expected=expected, got=got[:80], where=where
    )

"""A graph is held to its function: with plain values in place of stand-ins, it says the same.

A trace watches the program's code (watch.py), and not all that this calls: a class's own `__str__`,
a property, a library. So the function is run again as it is, with texts that such code would change
or act on: empty, blank, long, with quotes, markup and digits, and with the constants of its own
code. Where what it says differs from the graph filled with the same texts, it is refused.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import ProgramError
from . import fill, ir
from .explore import Way, run, same

if TYPE_CHECKING:
    from ..function import Program

_TEXTS = (
    *("", " Two  words\n", "4111111111111111 w" * 1200),
    *('It\'s "q" \\ {x} %s <b>&amp;é 12, -3.5 yes', "a,b;c\td\r\n0"),
)
_NUMBERS = (0, 7, -12, 1000)


def check(program: Program[...], ways: Sequence[Way]) -> None:
    """Raise ProgramError, with the line, where the function does something else than its graph."""
    own = " ".join(dict.fromkeys(constants(program.body)))
    for way in ways:
        for number, text in enumerate((*_TEXTS, own)):
            _check(program, way, _Probe(text, _NUMBERS[number % len(_NUMBERS)]))


class _Probe:
    """The plain values of one check: one text, one number."""

    def __init__(self, text: str, number: int) -> None:
        self.text, self.number = text, number

    def __call__(self, slot: ir.Slot, tp: Any) -> Any:
        if slot.meta:
            return None
        return {str: self.text, int: self.number, float: float(self.number)}.get(tp)


def _check(program: Program[...], way: Way, probe: _Probe) -> None:
    tracing, returned = run(program, way.path, probe)

    def filled(pieces: Sequence[ir.Piece], where: str) -> tuple[ir.Piece, ...]:
        made: list[ir.Piece] = []
        for piece in pieces:
            if isinstance(piece, ir.Slot):
                known, value = _known(tracing.given, piece)
                piece = fill.shown(value, piece, where) if known else piece
            if isinstance(piece, str) and made and isinstance(made[-1], str):
                made[-1] += piece
            elif piece != "":
                made.append(piece)
        return tuple(made)

    said = [_with(op, filled) for op in way.ops]
    says = [_with(op, filled) for op in tracing.ops]
    for expected, got in zip(said, says, strict=False):
        if not same(expected, got):
            raise _differs(program, expected.where)
    if len(said) != len(says):
        longer = max(said, says, key=len)
        raise _differs(program, longer[min(len(said), len(says))].where)
    if not same(_data(way.returns, filled), _data(returned, filled)):
        raise _differs(program, str(program.where))


def _differs(program: Program[...], where: str) -> ProgramError:
    return ProgramError(
        f"what {program.name} says here depends on a value in a way that a trace does not see: "
        "code looks into text that was made of it, or changes it",
        where=where,
        hint="Put that code into a function with @esp.opaque; or give the arguments that it reads "
        "to compile(), which makes them constants.",
    )


def _known(given: dict[ir.Slot, Any], slot: ir.Slot) -> tuple[bool, Any]:
    """The plain value in a slot's place, if it has one."""
    place = ir.Slot(value=slot.value, argument=slot.argument, meta=slot.meta)
    for length in range(len(slot.path), -1, -1):
        whole = msgspec.structs.replace(place, path=slot.path[:length])
        if whole in given:
            return True, fill.entry(given[whole], slot.path[length:])
    return False, None


def _with(op: ir.Op, filled: Any) -> ir.Op:
    """The op with plain values in it."""
    match op:
        case ir.Say():
            return msgspec.structs.replace(op, pieces=filled(op.pieces, op.where))
        case ir.Choose():
            choices = tuple(filled(pieces, op.where) for pieces in op.choices)
            return msgspec.structs.replace(op, choices=choices)
        case ir.Assign():
            return msgspec.structs.replace(op, data=_data(op.data, filled))
        case ir.Apply():
            arguments = tuple(_data(item, filled) for item in op.arguments)
            keywords = {name: _data(item, filled) for name, item in op.keywords.items()}
            return msgspec.structs.replace(op, arguments=arguments, keywords=keywords)
    return op


def _data(data: ir.Data, filled: Any) -> ir.Data:
    match data:
        case ir.Slot() | ir.Template():
            pieces = (data,) if isinstance(data, ir.Slot) else data.pieces
            made = filled(_as_text(pieces), "")
            if all(isinstance(piece, str) for piece in made):
                return ir.Constant("".join(made))
            return ir.Template(made)
        case ir.Items(kind=kind, items=items):
            return ir.Items(kind, tuple(_data(item, filled) for item in items))
        case ir.Table(keys=keys, items=items):
            return ir.Table(keys, tuple(_data(item, filled) for item in items))
        case ir.Constant(data=value) if isinstance(value, int | float | str):
            return ir.Constant(str(value))
    return data


def _as_text(pieces: Sequence[ir.Piece]) -> list[ir.Piece]:
    """A datum may be a number where text must be text."""
    return [
        msgspec.structs.replace(piece, exact=False) if isinstance(piece, ir.Slot) else piece
        for piece in pieces
    ]


def constants(body: Any) -> Iterator[str]:
    """The texts in a function's code, and in the functions inside it."""
    todo: list[types.CodeType] = [body.__code__] if hasattr(body, "__code__") else []
    while todo:
        code = todo.pop()
        for value in code.co_consts:
            if isinstance(value, types.CodeType):
                todo.append(value)
            elif isinstance(value, str):
                yield value
            elif isinstance(value, tuple | frozenset):
                yield from (item for item in value if isinstance(item, str))

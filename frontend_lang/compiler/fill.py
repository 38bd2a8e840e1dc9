"""Slots and what stands in them: as text, as data, and in what a value's path says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CodeType, FrameType, ModuleType
from typing import Any

from ...errors import InvalidRequestError
from . import ir

_INSIDES = (ModuleType, FrameType, CodeType)
Lookup = Callable[[ir.Slot], Any]


def entry(value: Any, path: Sequence[int | str]) -> Any:
    """What the path leads to."""
    for key in path:
        if isinstance(key, int):
            value = value[key]
        elif key.startswith("."):
            value = getattr(value, key[1:])
            if callable(value) or isinstance(value, _INSIDES):
                raise InvalidRequestError(
                    expected="a field of a value", got=f"{key}, a {type(value).__name__}"
                )
        else:
            value = value[key[1:]]
    return value


def fresh(value: Any) -> Any:
    """The value, its lists, tuples, dicts and sets anew: what a function does with them is its own
    matter."""
    if type(value) in (list, tuple, set):
        return type(value)(map(fresh, value))
    if type(value) is dict:
        return {key: fresh(item) for key, item in value.items()}
    return value


def shown(value: Any, slot: ir.Slot, where: str) -> str:
    """The value as the slot's place writes it. Raises InvalidRequestError for what is no text where
    only text can stand."""
    if slot.conversion == "s":
        value = str(value)
    if slot.exact:
        if isinstance(value, str):
            return str.__str__(value)
        raise InvalidRequestError(
            expected="a string",
            got=f"{type(value).__name__} {value!r:.80}",
            where=where,
            hint="Only text can be added to a state as it is. Write an f-string around the value.",
        )
    if slot.conversion == "r":
        value = repr(value)
    return format(value, slot.spec)


def text(pieces: Sequence[ir.Piece], lookup: Lookup, where: str) -> str:
    """Pieces as text."""
    return "".join(
        piece if isinstance(piece, str) else shown(lookup(piece), piece, where) for piece in pieces
    )


def data(given: ir.Data, lookup: Lookup, where: str) -> Any:
    """A datum as a Python value."""
    match given:
        case ir.Slot():
            value = lookup(given)
            return shown(value, given, where) if _written(given) else value
        case ir.Template(pieces=pieces):
            return text(pieces, lookup, where)
        case ir.Items(kind=kind, items=items):
            made = [data(item, lookup, where) for item in items]
            return made if kind == "list" else tuple(made)
        case ir.Table(keys=keys, items=items):
            values = (data(item, lookup, where) for item in items)
            return dict(zip(keys, values, strict=True))
        case ir.Constant(data=constant):
            return constant


def _written(slot: ir.Slot) -> bool:
    return bool(slot.conversion or slot.spec)


def needs_values(pieces: Sequence[ir.Piece]) -> bool:
    """Whether a call's value stands in them (arguments are there from the start)."""
    return any(isinstance(piece, ir.Slot) and piece.value is not None for piece in pieces)

"""Generic types (`list[int]`, `int | None`, literals, annotations) as a saved program names them.

The parts are what their names find, as for any other type; nothing is looked up here. A literal's
values and `msgspec.Meta` stand as JSON.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec

from ...errors import InvalidRequestError
from .kinds import type_name

UNION, LITERAL, ANNOTATED = "typing:Union", "typing:Literal", "typing:Annotated"
_CONTAINERS = (list, dict, tuple, set, frozenset, Sequence, Mapping)
KNOWN: dict[str, Any] = {
    **{type_name(tp): tp for tp in (bool, int, float, str, Any, *_CONTAINERS)},
    "builtins:None": None,
}
"""Types that are what they are anywhere."""
_DEEPEST = 32  # types in types
_Plain: TypeAlias = bool | int | str | None
_LIMITS = (
    "gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "title",
    "description",
)  # fmt: skip


class Alias(msgspec.Struct, frozen=True, tag="alias"):
    """`origin[arguments]`."""

    origin: str
    arguments: tuple[str | Alias, ...]


TypeName: TypeAlias = str | Alias


def name_of(tp: Any) -> TypeName:
    """How a saved program names a type; text that begins with "?" where it has no name."""
    if tp is None or tp is type(None):
        return "builtins:None"
    origin = get_origin(tp)
    if origin is None:
        return type_name(tp)
    arguments: list[TypeName] = []
    if origin is Literal:
        origin_name = LITERAL
        arguments = [_json(value, _Plain) for value in get_args(tp)]
    elif origin is Annotated:
        origin_name = ANNOTATED
        first, *notes = get_args(tp)
        arguments = [name_of(first), *map(_note, notes)]
    else:
        union = origin in (Union, types.UnionType)
        origin_name = UNION if union else type_name(origin)
        arguments = ["..." if each is ... else name_of(each) for each in get_args(tp)]
    if any(isinstance(each, str) and each.startswith("?") for each in (origin_name, *arguments)):
        return f"?{tp!r}"
    return Alias(origin_name, tuple(arguments))


def shown(name: TypeName) -> str:
    """For a reader, without modules."""
    if isinstance(name, str):  # a note, or a type's name
        return name if name.startswith("{") else name.rpartition(":")[2]
    if name.origin == LITERAL:
        parts = list(map(str, name.arguments))
    else:
        parts = [shown(each) for each in name.arguments]
    return f"{shown(name.origin)}[{', '.join(map(str, parts))}]"


def type_of(name: TypeName, find: Callable[[str], Any], where: str, depth: int = 0) -> Any:
    """The type of a name. find: gives what a plain name stands for, or raises. Raises
    InvalidRequestError for what makes no type."""
    if isinstance(name, str):
        return find(name)
    if depth == _DEEPEST:
        raise InvalidRequestError(expected=f"types at most {_DEEPEST} deep", where=where)
    try:
        if name.origin == LITERAL:
            values = [msgspec.json.decode(str(each), type=_Plain) for each in name.arguments]
            return Literal[tuple(values)]
        first, *notes = name.arguments if name.origin == ANNOTATED else ("",)
        if notes:
            return Annotated[(type_of(first, find, where, depth + 1), *map(_meta, notes))]
        arguments = tuple(
            ... if each == "..." else type_of(each, find, where, depth + 1)
            for each in name.arguments
        )
        if name.origin == UNION:
            return Union[arguments]  # noqa: UP007 (of however many)
        origin = find(name.origin)
        if isinstance(origin, type) and name.origin != ANNOTATED:
            return origin[arguments]  # type: ignore[index]
    except (TypeError, ValueError) as error:  # msgspec's own are ValueErrors
        if isinstance(error, InvalidRequestError):
            raise
        raise _none(name, str(error), where) from error
    raise _none(name, "no generic type", where)


def _none(name: Alias, why: str, where: str) -> InvalidRequestError:
    return InvalidRequestError(
        expected="a generic type and its arguments",
        got=f"{shown(name):.100}: {why[:200]}",
        where=where,
    )


def _json(value: Any, tp: Any) -> str:
    """As JSON; "?" for what is no such value, an enum's member among them."""
    try:
        text = msgspec.json.encode(value).decode()
        same = msgspec.json.decode(text, type=tp)
    except (TypeError, ValueError):
        return "?"
    return text if same == value and type(same) is type(value) else "?"


def _note(note: Any) -> str:
    if not isinstance(note, msgspec.Meta):
        return "?"
    fields = {each: getattr(note, each) for each in _LIMITS}
    fields = {each: value for each, value in fields.items() if value is not None}
    return _json(fields, dict[str, Any]) if msgspec.Meta(**fields) == note else "?"


def _meta(text: TypeName) -> msgspec.Meta:
    fields = msgspec.json.decode(str(text), type=dict[str, int | float | str])
    if not set(fields) <= set(_LIMITS):
        raise ValueError(f"expected fields among {', '.join(_LIMITS)}")
    return msgspec.Meta(**fields)  # type: ignore[call-overload, no-any-return]

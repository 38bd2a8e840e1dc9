"""Types as msgspec reads them: constraints of other libraries, and the arguments of functions.

msgspec takes constraints from `msgspec.Meta` alone and passes over all others, which would loosen a
type in silence. So those of `annotated_types` (which `pydantic.Field` and `conint` are made of) are
turned into `Meta`, wherever they stand; what has no counterpart is refused.

A function stands for the arguments that it can be called with by name: an object with a member per
parameter, which comes back as a dict (`function(**arguments)`).
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    NotRequired,
    Required,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from ..errors import GrammarError

_BOUNDS = {
    "ge": "ge", "gt": "gt", "le": "le", "lt": "lt", "multiple_of": "multiple_of",
    "min_length": "min_length", "max_length": "max_length", "pattern": "pattern",
}  # fmt: skip
_SILENT = {"annotated_types", "pydantic", "pydantic_core"}
"""Packages whose constraints are constraints; other annotations are comments."""


def readable(tp: Any) -> Any:
    """The type as msgspec can read it, at every level above classes. Raises GrammarError."""
    if is_function(tp):
        return arguments_of(tp)
    origin, args = get_origin(tp), get_args(tp)
    if origin is Annotated:
        base, *notes = args
        made = readable(base)
        for note in notes:
            for meta in _metas(note, tp):
                made = Annotated[made, meta]
        return made
    if not args or origin is None or not foreign(tp):
        return tp
    read = tuple(part if isinstance(part, list) else readable(part) for part in args)
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, read)
    if origin in (Required, NotRequired):
        return origin[read[0]]
    generic: Any = origin
    return generic[read] if isinstance(origin, type) else tp


def foreign(tp: Any) -> bool:
    """Whether a constraint stands in the type that msgspec would pass over."""
    if get_origin(tp) is Annotated:
        base, *notes = get_args(tp)
        return foreign(base) or any(_package(note) in _SILENT for note in notes)
    return any(foreign(part) for part in get_args(tp))


def fields_of(cls: Any) -> dict[str, Any]:
    """The names of a class's fields as it declares them, with the types that msgspec would read
    wrongly, readable; None for all others."""
    origin = get_origin(cls) or cls
    try:
        hints = get_type_hints(origin, include_extras=True)
    except (NameError, TypeError):  # msgspec names what is wrong
        return {}
    given = dict(zip(getattr(origin, "__parameters__", ()), get_args(cls), strict=False))
    found: dict[str, Any] = dict.fromkeys(hints)
    for name, hint in hints.items():
        if foreign(hint):
            missing = [free for free in getattr(hint, "__parameters__", ()) if free not in given]
            if missing:
                raise _unsupported(hint, f"{origin.__name__}.{name}", "in a generic base class")
            free = getattr(hint, "__parameters__", ())
            found[name] = readable(hint[tuple(given[one] for one in free)] if free else hint)
    return found


def _package(note: Any) -> str:
    return type(note).__module__.partition(".")[0]


def _metas(note: Any, tp: Any) -> list[msgspec.Meta]:
    """What an annotation says as msgspec's: nothing where it is no constraint."""
    if isinstance(note, msgspec.Meta):
        return [note]
    if _package(note) not in _SILENT:
        return []
    if hasattr(note, "metadata"):  # pydantic.Field
        return [meta for part in note.metadata for meta in _metas(part, tp)]
    said = {name: getattr(note, name, None) for name in _fields(note)}
    said = {name: value for name, value in said.items() if value is not None}
    if said.get("min_length") == 0:
        del said["min_length"]
    said.pop("strict", None)
    if set(said) - _BOUNDS.keys():
        raise _unsupported(note, str(tp), "as a constraint")
    try:
        return [msgspec.Meta(**{_BOUNDS[name]: value}) for name, value in said.items()]
    except (TypeError, ValueError) as error:
        raise _unsupported(f"{note}: {error}", str(tp), "as a constraint") from None


def _fields(note: Any) -> list[str]:
    named = getattr(type(note), "__dataclass_fields__", None) or getattr(note, "__dict__", {})
    if not named:
        raise _unsupported(note, "an annotation", "as a constraint")
    return list(named)


# -- functions -------------------------------------------------------------------------------------


def is_function(tp: Any) -> bool:
    """Whether `tp` is a function, a method, or a partial of one; no class is."""
    return inspect.isroutine(tp) or isinstance(tp, functools.partial)


def arguments_of(function: Callable[..., Any]) -> Any:
    """The arguments of a function by name, as a TypedDict."""
    name = getattr(function, "__name__", type(function).__name__)
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    try:
        parameters = inspect.signature(function).parameters
        hints = get_type_hints(inner, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise _unsupported(error, name, "as a function") from None
    members: dict[str, Any] = {}
    for parameter in parameters.values():
        place = f"{name}({parameter.name})"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise _unsupported(parameter, place, "as a parameter: it cannot be given by its name")
        if parameter.name not in hints:
            raise _unsupported(parameter, place, "as a parameter: it says no type")
        hint = readable(hints[parameter.name])
        required = parameter.default is parameter.empty
        members[parameter.name] = hint if required else NotRequired[hint]
    return TypedDict(name, members)  # type: ignore[operator]


def _unsupported(what: object, where: str, how: str) -> GrammarError:
    return GrammarError(
        f"{what} is not supported {how}",
        where=where,
        hint="Use msgspec.Meta for constraints, and plain annotated parameters",
    )

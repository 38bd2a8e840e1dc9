"""`@opaque`: Python code that a compiled program calls, and does not look into."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakSet

from ...errors import InvalidRequestError
from .fill import fresh
from .tracing import current

_MADE: WeakSet[Callable[..., Any]] = WeakSet()
P = ParamSpec("P")
R = TypeVar("R")


def opaque(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function one that a compiled program calls with the values that are there by then.

    A tool, a vote, a parser: whatever looks into generated text. It is called as ever; in a trace
    the call becomes part of the graph, and gives a stand-in. A function that is annotated to return
    a bool or a Literal may be branched on: each value is explored.

    It must be a function of its arguments: branches may call it at once, from threads of their own.
    The lists and dicts that it is given are its own.
    """
    plain = inspect.isfunction(cast(object, function))
    if not plain or inspect.iscoroutinefunction(function):
        raise InvalidRequestError(
            expected="a plain function", got=repr(function)[:80], where="opaque"
        )

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        tracing = current.get()
        if tracing is None:
            return cast(Callable[..., R], function)(*fresh(args), **fresh(kwargs))
        inspect.signature(function).bind(*args, **kwargs)
        return cast(R, tracing.apply(call, returned(function), args, kwargs))

    _MADE.add(call)
    return call


def is_opaque(function: object) -> bool:
    """Whether it is one that `opaque` made."""
    return inspect.isfunction(function) and function in _MADE


def returned(function: Callable[..., Any]) -> Any:
    """The type of what it returns; None where nothing says."""
    return hints(function).get("return")


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that can be read."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that is not there at run time: the simple ones are known anyway
        simple = {"str": str, "int": int, "float": float, "bool": bool}
        given = getattr(function, "__annotations__", {})
        return {name: simple.get(tp, tp) for name, tp in given.items() if tp in simple}

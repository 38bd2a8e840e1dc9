"""What a trace knows of types: the few values of some, the class of others, and their names."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Literal, get_args, get_origin


def possibilities(tp: Any) -> tuple[Any, ...] | None:
    """All values of a type, where they are few: bool, and literals."""
    if tp is bool:
        return (True, False)
    if get_origin(tp) is Literal:
        return tuple(get_args(tp))
    return None


def exact(tp: Any) -> type | None:
    """The class that a value of the type is of, where that is one."""
    simple = tp in (str, int, float, bool) or dataclasses.is_dataclass(tp)
    return tp if simple and isinstance(tp, type) else None


def type_name(tp: Any) -> str:
    """How a saved program names a class or a function: `module:qualname`; "?" where that would not
    find it again."""
    module, name = getattr(tp, "__module__", None), getattr(tp, "__qualname__", None)
    found: Any = sys.modules.get(str(module))
    for part in str(name).split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is tp and tp is not None else f"?{tp!r}"

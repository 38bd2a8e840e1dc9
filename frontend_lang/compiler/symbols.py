"""What stands for a value while a program is traced: it can be put into text, and not looked into.

A text's stand-in is a `str` whose content is a mark, so that `+`, f-strings and `", ".join(...)`
put it where the value will be. Whatever would look into the text raises, naming the program's line;
but where all values are known (a select's choices, a bool), looking decides which one this trace
follows, and the others get traces of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar

import msgspec

from .ir import Slot

T = TypeVar("T")


class Trace(Protocol):
    """What a stand-in asks of the trace that made it."""

    def mark(self, slot: Slot) -> str:
        """Text that stands for the slot."""
        ...

    def look(self, slot: Slot, choices: tuple[Any, ...] | None, what: str) -> Any:
        """The value in this trace. Raises ProgramError where it is not known."""
        ...

    def test(
        self,
        slot: Slot,
        choices: tuple[Any, ...] | None,
        what: str,
        holds: Callable[[Any], bool],
    ) -> bool:
        """Whether it holds of the value in this trace."""
        ...

    def refuse(self, slot: Slot, what: str) -> NoReturn:
        """Raise ProgramError: the program looks into a value that no trace can know."""
        ...


class TextSymbol(str):
    """Stands for a text. choices: all that it may be, where they are known."""

    _slot: Slot
    _trace: Trace
    _choices: tuple[Any, ...] | None

    def __new__(
        cls, trace: Trace, slot: Slot, choices: tuple[Any, ...] | None = None
    ) -> TextSymbol:
        made = super().__new__(cls, trace.mark(msgspec.structs.replace(slot, exact=True)))
        made._slot, made._trace, made._choices = slot, trace, choices
        return made

    def __str__(self) -> str:
        """A stand-in, too: `str(x) == "yes"` looks into x."""
        slot = msgspec.structs.replace(self._slot, conversion="s")
        return TextSymbol(self._trace, slot, self._choices)

    def __repr__(self) -> str:
        return self._trace.mark(msgspec.structs.replace(self._slot, conversion="r"))

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return self._trace.mark(msgspec.structs.replace(self._slot, spec=spec))

    def __bool__(self) -> bool:
        return self._trace.test(self._slot, self._choices, "if", bool)

    def __hash__(self) -> int:
        return hash(self._trace.look(self._slot, self._choices, "a look-up"))

    def __eq__(self, other: object) -> bool:
        plain = _plain(other)
        return self._trace.test(self._slot, self._choices, "==", lambda value: value == plain)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __int__(self) -> int:
        return int(self._trace.look(self._slot, self._choices, "int()"))

    def __float__(self) -> float:
        return float(self._trace.look(self._slot, self._choices, "float()"))

    def __index__(self) -> int:
        self._trace.refuse(self._slot, "its use as a number")


_OF_TEXT = {
    *("__add__", "__getattribute__", "__getnewargs__", "__init__", "__new__", "__sizeof__"),
    *vars(TextSymbol),
}


def _looking(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def look(self: TextSymbol, *args: Any, **kwargs: Any) -> Any:
        value = self._trace.look(self._slot, self._choices, name.strip("_"))
        return method(value, *map(_plain, args), **kwargs)

    look.__name__ = name
    return look


for _name in dir(str):
    if _name not in _OF_TEXT and _name not in vars(object):
        setattr(TextSymbol, _name, _looking(_name))
for _name in ("__lt__", "__le__", "__gt__", "__ge__"):
    setattr(TextSymbol, _name, _looking(_name))


class ValueSymbol:
    """Stands for a value that is no text. Its attributes and items have stand-ins of their own."""

    def __init__(self, trace: Trace, slot: Slot, choices: tuple[Any, ...] | None = None) -> None:
        self._trace = trace
        self._slot = slot
        self._choices = choices

    def __str__(self) -> str:
        slot = msgspec.structs.replace(self._slot, conversion="s")
        return TextSymbol(self._trace, slot)

    def __repr__(self) -> str:
        return self._trace.mark(msgspec.structs.replace(self._slot, conversion="r"))

    def __format__(self, spec: str) -> str:
        return self._trace.mark(msgspec.structs.replace(self._slot, spec=spec))

    def __getattr__(self, name: str) -> ValueSymbol:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._entry(f".{name}")

    def __getitem__(self, key: Any) -> ValueSymbol:
        if not isinstance(key, int | str) or isinstance(key, TextSymbol):
            self._trace.refuse(self._slot, f"an item of it by {type(key).__name__}")
        return self._entry(key if isinstance(key, int) else f"={key}")

    def _entry(self, key: int | str) -> ValueSymbol:
        slot = msgspec.structs.replace(self._slot, path=(*self._slot.path, key))
        return ValueSymbol(self._trace, slot)

    def __bool__(self) -> bool:
        return self._trace.test(self._slot, self._choices, "if", bool)

    def __eq__(self, other: object) -> bool:
        plain = _plain(other)
        return self._trace.test(self._slot, self._choices, "==", lambda value: value == plain)

    def __hash__(self) -> int:
        return hash(self._trace.look(self._slot, self._choices, "a look-up"))


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(self: ValueSymbol, *_args: Any) -> NoReturn:
        self._trace.refuse(self._slot, name.strip("_"))

    refuse.__name__ = name
    return refuse


for _name in (
    *("__len__", "__iter__", "__contains__", "__call__", "__int__", "__float__", "__index__"),
    *("__lt__", "__le__", "__gt__", "__ge__", "__add__", "__radd__", "__sub__", "__rsub__"),
    *("__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__floordiv__", "__rfloordiv__"),
    *("__mod__", "__rmod__", "__neg__", "__pos__", "__abs__", "__round__", "__pow__", "__rpow__"),
    *("__and__", "__or__", "__xor__", "__invert__", "__rand__", "__ror__", "__rxor__"),
):
    setattr(ValueSymbol, _name, _refusing(_name))


Symbol = TextSymbol | ValueSymbol


def _plain(value: Any) -> Any:
    """The value in this trace of another stand-in; anything else as it is."""
    if isinstance(value, TextSymbol | ValueSymbol):
        return value._trace.look(value._slot, value._choices, "a comparison")
    return value


def at(value: Any, slot: Slot) -> Any:
    """The same kind of value in another place: stand-ins (in lists, too) stand for `slot`'s."""
    if isinstance(value, TextSymbol | ValueSymbol):
        return type(value)(value._trace, slot, value._choices)
    if isinstance(value, list):
        return [
            at(item, msgspec.structs.replace(slot, path=(*slot.path, number)))
            for number, item in enumerate(value)
        ]
    return value

"""What stands for a value while a program is traced: it can be put into text, and not looked into.

A text's stand-in is a `str` whose content is a mark, so that `+`, f-strings and `", ".join(...)`
put it where the value will be; text that is made of it is a `MadeText`. Whatever would look into
either raises, naming the program's line; but where all values are known (a select's choices, a
bool), looking decides which one this trace follows, and the others get traces of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, Protocol, SupportsIndex, TypeVar

import msgspec

from .ir import Slot

T = TypeVar("T")
BEGIN, END = "\ue000", "\ue001"
"""Of a mark: characters that no text has."""
_WIDTHS = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%(]")


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

    def refuse_text(self, text: str, what: str) -> NoReturn:
        """The same, of text that is made of such values."""
        ...

    def wrong(self, what: str, hint: str, where: str | None = None) -> NoReturn:
        """Raise ProgramError, which is the trace's failure whatever the program does with it."""
        ...

    def entered(self, slot: Slot, what: str) -> None:
        """An entry of the value is read. Raises ProgramError where a handler would catch that
        there is none."""
        ...


class TextSymbol(str):
    """Stands for a text. choices: all that it may be, where they are known."""

    _slot: Slot
    _trace: Trace
    _choices: tuple[Any, ...] | None
    _type: type | None

    def __new__(
        cls,
        trace: Trace,
        slot: Slot,
        choices: tuple[Any, ...] | None = None,
        tp: type | None = None,
    ) -> TextSymbol:
        made = super().__new__(cls, trace.mark(msgspec.structs.replace(slot, exact=True)))
        made._slot, made._trace, made._choices, made._type = slot, trace, choices, tp
        return made

    def __add__(self, other: object) -> Any:
        return _added(self._trace, self, other)

    def __radd__(self, other: object) -> Any:
        return _added(self._trace, other, self)

    def __rmod__(self, form: object) -> Any:
        return formatted(self._trace, form, (self,))

    def __copy__(self) -> TextSymbol:
        return self

    def __deepcopy__(self, memo: object) -> TextSymbol:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        self._trace.refuse(self._slot, "pickle")

    def __str__(self) -> str:
        """A stand-in, too: `str(x) == "yes"` looks into x."""
        if self._slot.conversion or self._slot.spec:
            return self
        slot = msgspec.structs.replace(self._slot, conversion="s")
        return TextSymbol(self._trace, slot, self._choices, str)

    def __repr__(self) -> str:
        return _shown(self, "r")

    def __format__(self, spec: str) -> str:
        return _shown(self, "", spec) if spec else str(self)

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


def _shown(symbol: TextSymbol | ValueSymbol, conversion: str, spec: str = "") -> str:
    """The value as an f-string writes it. Where it is written already, no graph says that twice."""
    slot, trace = symbol._slot, symbol._trace
    if (slot.conversion and conversion) or slot.spec or BEGIN in plain(spec):
        trace.refuse(slot, "a value that is written twice, or in a width that is a value")
    slot = msgspec.structs.replace(slot, conversion=conversion or slot.conversion, spec=spec)
    return MadeText(trace, trace.mark(slot))


class MadeText(str):
    """Text that is made of constants and marks. It can be put into other text, and nothing else."""

    _trace: Trace

    def __new__(cls, trace: Trace, text: str) -> MadeText:
        made = super().__new__(cls, text)
        made._trace = trace
        return made

    def __str__(self) -> str:
        return self

    def __format__(self, spec: str) -> str:
        if spec:
            self._trace.refuse_text(plain(self), f"the format {spec!r}")
        return self

    def __add__(self, other: object) -> Any:
        return _added(self._trace, self, other)

    def __radd__(self, other: object) -> Any:
        return _added(self._trace, other, self)

    def __rmod__(self, form: object) -> Any:
        return formatted(self._trace, form, (self,))

    def join(self, parts: Iterable[str]) -> str:
        return MadeText(self._trace, plain(self).join(map(plain, parts)))

    def __bool__(self) -> bool:
        if not re.sub(f"{BEGIN}[^{END}]*{END}", "", plain(self)):
            self._trace.refuse_text(plain(self), "if")
        return True  # whatever the values are

    def __copy__(self) -> MadeText:
        return self

    def __deepcopy__(self, memo: object) -> MadeText:
        return self


def plain(text: str) -> str:
    """Text with marks as what it is."""
    return str.__str__(text)


def formatted(trace: Trace, form: object, given: Any) -> Any:
    """`form % given`, where there are stand-ins in it."""
    if not isinstance(form, str):
        return NotImplemented
    if BEGIN in plain(form):
        trace.refuse_text(plain(form), "%")
    made: str = str.__mod__(form, given)
    if _WIDTHS.search(form):
        trace.refuse_text(made, "% with a width")
    return MadeText(trace, made)


def _added(trace: Trace, left: object, right: object) -> Any:
    if not (isinstance(left, str) and isinstance(right, str)):
        return NotImplemented
    return MadeText(trace, plain(left) + plain(right))


_OF_TEXT = {
    *("__getattribute__", "__getnewargs__", "__init__", "__new__", "__sizeof__"),
    *vars(TextSymbol),
}


def _looking(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def look(self: TextSymbol, *args: Any, **kwargs: Any) -> Any:
        value = self._trace.look(self._slot, self._choices, name.strip("_"))
        return method(value, *map(_plain, args), **kwargs)

    look.__name__ = name
    return look


def _made_looking(name: str) -> Callable[..., Any]:
    def look(self: MadeText, *_args: Any, **_kwargs: Any) -> NoReturn:
        self._trace.refuse_text(plain(self), name.strip("_"))

    look.__name__ = name
    return look


for _name in dir(str):
    if _name not in _OF_TEXT and _name not in vars(object):
        setattr(TextSymbol, _name, _looking(_name))
for _name in ("__lt__", "__le__", "__gt__", "__ge__"):
    setattr(TextSymbol, _name, _looking(_name))
_LEFT = {"__getattribute__", "__new__", "__init__", "__getnewargs__", *vars(MadeText)}
for _name in (
    *(name for name in dir(str) if name not in vars(object)),
    *("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__", "__hash__", "__repr__"),
    *("__int__", "__float__", "__index__", "__reduce_ex__"),
):
    if _name not in _LEFT:
        setattr(MadeText, _name, _made_looking(_name))


class ValueSymbol:
    """Stands for a value that is no text. Its attributes and items have stand-ins of their own."""

    _trace: Trace
    _slot: Slot
    _choices: tuple[Any, ...] | None
    _type: type | None

    def __init__(
        self,
        trace: Trace,
        slot: Slot,
        choices: tuple[Any, ...] | None = None,
        tp: type | None = None,
    ) -> None:
        given = {"_trace": trace, "_slot": slot, "_choices": choices, "_type": tp}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        self._trace.refuse(self._slot, f"its {name} is set")

    def __delattr__(self, name: str) -> NoReturn:
        self._trace.refuse(self._slot, f"its {name} is deleted")

    def __copy__(self) -> ValueSymbol:
        return self

    def __deepcopy__(self, memo: object) -> ValueSymbol:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        self._trace.refuse(self._slot, "pickle")

    def __str__(self) -> str:
        slot = msgspec.structs.replace(self._slot, conversion="s")
        return TextSymbol(self._trace, slot, None, str)

    def __repr__(self) -> str:
        return _shown(self, "r")

    def __format__(self, spec: str) -> str:
        return _shown(self, "", spec)

    def __getattr__(self, name: str) -> ValueSymbol:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith("_"):
            self._trace.refuse(self._slot, f"its own {name}")
        return self._entry(f".{name}")

    def __getitem__(self, key: Any) -> ValueSymbol:
        if not isinstance(key, int | str) or isinstance(key, TextSymbol | MadeText):
            self._trace.refuse(self._slot, f"an item of it by {type(key).__name__}")
        return self._entry(key if isinstance(key, int) else f"={key}")

    def _entry(self, key: int | str) -> ValueSymbol:
        self._trace.entered(self._slot, "an entry of it")
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
    *("__setitem__", "__delitem__", "__enter__", "__exit__", "__next__", "__reversed__"),
):
    setattr(ValueSymbol, _name, _refusing(_name))


Symbol = TextSymbol | ValueSymbol


def _plain(value: Any) -> Any:
    """The value in this trace of another stand-in; anything else as it is."""
    if isinstance(value, TextSymbol | ValueSymbol):
        return value._trace.look(value._slot, value._choices, "a comparison")
    return value


class TracedList(list[Any]):
    """A list that a run makes anew for each reader: changing it would change what others read."""

    def __init__(self, trace: Trace, items: Iterable[Any]) -> None:
        super().__init__(items)
        self.trace = trace


def _unchangeable(name: str) -> Callable[..., Any]:
    def change(self: TracedList, *_args: Any, **_kwargs: Any) -> NoReturn:
        self.trace.wrong(
            f"the program changes a list of values in place ({name.strip('_')})",
            "Make a list of your own of it: [*values].",
        )

    change.__name__ = name
    return change


for _name in (
    *("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(TracedList, _name, _unchangeable(_name))


def at(value: Any, slot: Slot, kept: bool = False) -> Any:
    """The same kind of value in another place: stand-ins (in lists, too) stand for `slot`'s. kept:
    an error may stand in its place, so that nothing is known of it."""
    if isinstance(value, TextSymbol | ValueSymbol):
        known = (None, None) if kept else (value._choices, value._type)
        return type(value)(value._trace, slot, *known)
    if isinstance(value, list):
        made = [
            at(item, msgspec.structs.replace(slot, path=(*slot.path, number)), kept)
            for number, item in enumerate(value)
        ]
        return TracedList(value.trace, made) if isinstance(value, TracedList) else made
    return value

"""One run of a program's function in which its ops are written down instead of being run.

What calls give are stand-ins (symbols.py). Where the function branches on a value whose
possibilities are known, the trace takes the way that `path` says, and past its end stops with
`Undecided`; whoever traces then follows each way (explore.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, NoReturn

import msgspec

from ...errors import NotSupportedError, ProgramError
from ..where import Where, caller, is_frontend
from . import ir
from .aliases import TypeName
from .kinds import exact as class_of, possibilities, type_name
from .marks import Marks
from .symbols import MadeText, TextSymbol, TracedList, ValueSymbol, plain
from .watch import LIBRARIES, found

current: ContextVar[Tracing | None] = ContextVar("espalier_tracing", default=None)
TOOLS = (
    "Let the model choose a tool with s.select(...), on which a program may branch, and call it in "
    "a function with @esp.opaque; or run the program without compiling it."
)
ADVICE = (
    "Let the model choose with select, whose choices are known and are explored; put the code "
    "into a function with @esp.opaque; or run the program without compiling it."
)


class Undecided(BaseException):
    """The function branches on one of `groups` of values, and nobody has said which to follow."""

    def __init__(self, slot: ir.Slot, groups: tuple[tuple[Any, ...], ...], where: str) -> None:
        super().__init__(where)
        self.slot, self.groups, self.where = slot, groups, where
        self.ops: list[ir.Op] = []
        """Those that stand before it; what a `finally` says comes after."""


class Tracing:
    """See the module's docstring. path: which group to follow at each decision. probe: gives plain
    values in place of stand-ins, for checking a trace (probes.py)."""

    def __init__(
        self,
        path: Sequence[int] = (),
        probe: Callable[[ir.Slot, type], Any] | None = None,
    ) -> None:
        self.ops: list[ir.Op] = []
        self.starts: list[int] = []
        self.types: dict[TypeName, Any] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.failure: BaseException | None = None
        self.given: dict[ir.Slot, Any] = {}
        self.path = path
        self._probe = probe
        self.guards: list[int | None] = []
        self._assigned: list[tuple[ir.Assign, Any]] = []
        self.marks = Marks()
        self._possible: dict[ir.Slot, tuple[Any, ...]] = {}
        self._values = self._streams = 0

    # -- numbers -----------------------------------------------------------------------------------

    def value(self) -> int:
        """The next value's number."""
        self._values += 1
        return self._values - 1

    def stream(self) -> int:
        """The next stream's number."""
        self._streams += 1
        return self._streams - 1

    # -- stand-ins ---------------------------------------------------------------------------------

    def give(self, slot: ir.Slot, tp: Any, *, exact: bool = False) -> Any:
        """What stands for a value of the type. None: a type that is not known, taken for text.
        exact: it is of this type for sure; an annotation is not."""
        tp = None if tp is Any or tp is object else tp
        known = class_of(tp) if slot.argument is None and exact else None
        choices = possibilities(tp)
        if choices is None and self._probe is not None:
            value = self._probe(slot, str if tp is None else tp)
            if value is not None:
                self.given[slot] = value
                return value
        if tp in (None, str) or (choices and all(isinstance(value, str) for value in choices)):
            return TextSymbol(self, slot, choices, known)
        return ValueSymbol(self, slot, choices, known)

    def note(self, slot: ir.Slot, value: Any) -> None:
        """A probe's plain value (or a list of them) stands in another place, too."""
        if isinstance(value, list):
            for number, item in enumerate(value):
                self.note(msgspec.structs.replace(slot, path=(*slot.path, number)), item)
        elif not isinstance(value, TextSymbol | ValueSymbol | MadeText):
            self.given[slot] = value

    def mark(self, slot: ir.Slot) -> str:
        return self.marks.of(slot)

    def look(self, slot: ir.Slot, choices: tuple[Any, ...] | None, what: str) -> Any:
        if choices is None:
            self.refuse(slot, what)
        slot = _plain(slot)
        now = [*self._possible.get(slot, choices)]
        if len(now) > 1:
            now = [*self._decide(slot, tuple((value,) for value in now))]
        return now[0]

    def test(
        self,
        slot: ir.Slot,
        choices: tuple[Any, ...] | None,
        what: str,
        holds: Callable[[Any], bool],
    ) -> bool:
        if choices is None:
            self.refuse(slot, what)
        slot = _plain(slot)
        now = self._possible.get(slot, choices)
        yes = tuple(value for value in now if holds(value))
        if not yes or len(yes) == len(now):
            return bool(yes)
        no = tuple(value for value in now if value not in yes)
        return self._decide(slot, (yes, no)) is yes

    def _decide(self, slot: ir.Slot, groups: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...]:
        at = len(self.starts)
        if at == len(self.path):
            undecided = Undecided(slot, groups, self.line())
            undecided.ops = [*self.ops]
            self._fail(undecided)
            raise undecided
        self.starts.append(len(self.ops))
        self._possible[slot] = groups[self.path[at]]
        return self._possible[slot]

    def _fail(self, error: BaseException) -> None:
        """The first failure is the trace's, whatever the program does with it."""
        if self.failure is None:
            self.failure = error

    def refuse_text(self, text: str, what: str) -> NoReturn:
        slot = next((piece for piece in self.pieces(text) if isinstance(piece, ir.Slot)), None)
        self.refuse(slot or ir.Slot(), f"{what}, of text that is made of it")

    def entered(self, slot: ir.Slot, what: str) -> None:
        if self.guards:
            self.refuse_guarded(what, self._called(slot))

    def waits(self, what: str, where: Where) -> None:
        """A wait that may raise. Raises ProgramError where a handler would catch it."""
        if self.guards:
            self.refuse_guarded(what, "branches", str(where))

    def read(self, value: Any) -> Any:
        """A value that the program reads, as it is."""
        held = found(value) if self.guards else None
        if held is not None:
            known = isinstance(held, TextSymbol | ValueSymbol)
            self.refuse_guarded("a read", self._called(held._slot) if known else "a value")
        return value

    def refuse_guarded(self, what: str, whose: str, where: str | None = None) -> NoReturn:
        line = self.guards[-1]
        inside = "a `with`" if line is None else f"the `try` of line {line}"
        self.wrong(
            f"{what} of {whose} stands inside {inside}, which may catch what it raises; a graph "
            "catches nothing",
            "Read it outside; or put the code into a function with @esp.opaque; or run the "
            "program without compiling it.",
            where,
        )

    def wrong(self, what: str, hint: str, where: str | None = None) -> NoReturn:
        error = ProgramError(what, where=where or self.line(), hint=hint)
        self._fail(error)
        raise error

    def refuse(self, slot: ir.Slot, what: str) -> NoReturn:
        if slot.argument is not None:
            self.wrong(
                f"the program looks into its argument {slot.argument!r} ({what}), so that what it "
                "does is not known before it runs",
                f"Give it to compile({slot.argument}=...) (`espalier compile FILE --arg "
                f"{slot.argument}=...`), which makes it a constant; or put the code into a "
                "function with @esp.opaque.",
            )
        self.wrong(
            f"the program branches on {self._called(slot)}, or looks into it ({what}), so that "
            "what it does next is not known before the model has spoken",
            ADVICE,
        )

    def _called(self, slot: ir.Slot) -> str:
        """A value in words."""
        if slot.argument is not None:
            return f"the argument {slot.argument!r}"
        for op in self.ops:
            if isinstance(op, ir.Generate | ir.Choose | ir.Scope) and op.value == slot.value:
                return f"the generated value {op.name!r}" if op.name else "a generated value"
            if isinstance(op, ir.Join) and slot.value in op.names.values():
                name = next(n for n, value in op.names.items() if value == slot.value)
                return f"the generated value {name!r}"
            if isinstance(op, ir.Apply) and op.value == slot.value:
                return f"what {op.function.rpartition(':')[2]} gives"
        return "a value"

    def cannot(self, what: str, where: Where, hint: str) -> NoReturn:
        """Raise NotSupportedError: no graph says this."""
        error = NotSupportedError(f"{what} cannot be compiled", where=str(where), hint=hint)
        self._fail(error)
        raise error

    # -- writing ops down --------------------------------------------------------------------------

    def line(self) -> str:
        """The innermost line that is neither the frontend's nor a library's."""
        frame = sys._getframe(1)
        while frame.f_back is not None:
            file = frame.f_code.co_filename
            if not is_frontend(file) and not file.startswith(LIBRARIES):
                return str(Where(file, frame.f_lineno))
            frame = frame.f_back
        return str(caller())

    def pieces(self, text: str) -> tuple[ir.Piece, ...]:
        """Text as strings and slots. Raises ProgramError where a mark was changed."""
        pieces = self.marks.pieces(text)
        if pieces is None:
            self.wrong(
                "the program changes the text of a value that is not known before it runs, keeps "
                "it for another run, or says U+E000 itself",
                ADVICE,
            )
        return pieces

    def fixed(self, what: str, text: str | None, where: Where) -> None:
        """Raise ProgramError where a text that must be a constant is made of values."""
        if text is not None and self.marks.within(text):
            raise ProgramError(
                f"{what} depends on a value that is not known before the program runs",
                where=str(where),
                hint="It must be a constant: give the arguments that it is made of to compile().",
            )

    def data(self, value: Any) -> ir.Data:
        """A Python value in which there may be stand-ins. Raises ProgramError for one that holds
        them where no graph does."""
        if isinstance(value, TextSymbol | ValueSymbol):
            return value._slot
        if isinstance(value, str):
            pieces = self.pieces(value)
            if all(isinstance(piece, str) for piece in pieces):
                return ir.Constant(plain(value) if type(value) is MadeText else value)
            return ir.Template(pieces)
        if type(value) in (list, tuple, TracedList):
            kind: Literal["list", "tuple"] = "list" if isinstance(value, list) else "tuple"
            return ir.Items(kind, tuple(map(self.data, value)))
        if type(value) is dict:
            for key in value:
                if not isinstance(key, str) and found(key) is not None:
                    self._refuse_held("a dict's key")
                self.fixed("a dict's key", key if isinstance(key, str) else None, caller())
            return ir.Table(tuple(value), tuple(map(self.data, value.values())))
        if found(value) is not None:
            self._refuse_held(f"an object of {type(value).__name__}")
        return ir.Constant(value)

    def _refuse_held(self, where: str) -> NoReturn:
        self.wrong(
            f"{where} holds a value that is not known before the program runs",
            "Lists, tuples and dicts may hold such values; what makes other objects of them "
            "belongs into a function with @esp.opaque.",
        )

    def assign(self, stream: int, where: str, name: str, value: Any) -> None:
        """A variable that the program sets."""
        data = self.data(value)
        op = ir.Assign(stream=stream, where=where, name=name, value=self.value(), data=data)
        self.ops.append(op)
        self._assigned.append((op, value))

    def check_assigned(self) -> None:
        """Raise ProgramError where what a variable was set to has been changed since."""
        for op, value in self._assigned:
            if type(value) in (list, tuple, dict) and self.data(value) != op.data:
                raise ProgramError(
                    f"{op.name} was set to a list or a dict that is changed later on",
                    where=op.where,
                    hint="Set it once it is complete, or to a copy.",
                )

    def apply(
        self,
        function: Callable[..., Any],
        gives: Any,
        arguments: Sequence[Any],
        keywords: Mapping[str, Any],
    ) -> Any:
        """A call of an opaque function that gives a value of the type `gives`."""
        if self.guards:
            self.refuse_guarded("a call", "an opaque function")
        name = type_name(function)
        self.functions[name] = function
        value = self.value()
        self.ops.append(
            ir.Apply(
                stream=0,
                where=self.line(),
                value=value,
                function=name,
                arguments=tuple(map(self.data, arguments)),
                keywords={key: self.data(item) for key, item in keywords.items()},
            )
        )
        return self.give(ir.Slot(value=value), gives)


def _plain(slot: ir.Slot) -> ir.Slot:
    """The value itself, however it is written."""
    return msgspec.structs.replace(slot, conversion="", spec="", exact=False)

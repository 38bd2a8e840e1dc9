"""One run of a program's function in which its ops are written down instead of being run.

What calls give are stand-ins (symbols.py). Where the function branches on a value whose
possibilities are known, the trace takes the way that `path` says, and past its end stops with
`Undecided`; whoever traces then follows each way (explore.py).
"""

from __future__ import annotations

import re
import secrets
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, NoReturn, get_args, get_origin

import msgspec

from ...errors import NotSupportedError, ProgramError
from ..choices import METHODS
from ..expr import Gen, RoleBegin, RoleEnd, ScopeBegin, ScopeEnd, Select, Text, describe
from ..interpreter import Op as QueuedOp
from ..tools import ToolCalls
from ..where import Where, caller, is_frontend
from . import ir
from .symbols import TextSymbol, ValueSymbol

current: ContextVar[Tracing | None] = ContextVar("espalier_tracing", default=None)
_STDLIB = sysconfig.get_paths()["stdlib"]
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
        self.types: dict[str, Any] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.failure: BaseException | None = None
        self.given: dict[ir.Slot, Any] = {}
        self._path = path
        self._probe = probe
        self._nonce = secrets.token_hex(8)
        self._marks: list[ir.Slot] = []
        self._numbers: dict[ir.Slot, int] = {}
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

    def give(self, slot: ir.Slot, tp: Any) -> Any:
        """What stands for a value of the type. None: a type that is not known, taken for text."""
        tp = None if tp is Any or tp is object else tp
        choices = possibilities(tp)
        if choices is None and self._probe is not None:
            plain = self._probe(slot, str if tp is None else tp)
            if plain is not None:
                self.given[slot] = plain
                return plain
        if tp in (None, str) or (choices and all(isinstance(value, str) for value in choices)):
            return TextSymbol(self, slot, choices)
        return ValueSymbol(self, slot, choices)

    def note(self, slot: ir.Slot, value: Any) -> None:
        """A probe's plain value (or a list of them) stands in another place, too."""
        if isinstance(value, list):
            for number, item in enumerate(value):
                self.note(msgspec.structs.replace(slot, path=(*slot.path, number)), item)
        elif not isinstance(value, TextSymbol | ValueSymbol):
            self.given[slot] = value

    def mark(self, slot: ir.Slot) -> str:
        number = self._numbers.setdefault(slot, len(self._marks))
        if number == len(self._marks):
            self._marks.append(slot)
        return f"\ue000{self._nonce}:{number}\ue001"

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
        if at == len(self._path):
            undecided = Undecided(slot, groups, self.line())
            self.failure = undecided
            raise undecided
        self.starts.append(len(self.ops))
        self._possible[slot] = groups[self._path[at]]
        return self._possible[slot]

    def refuse(self, slot: ir.Slot, what: str) -> NoReturn:
        if slot.argument is not None:
            error = ProgramError(
                f"the program looks into its argument {slot.argument!r} ({what}), so that what it "
                "does is not known before it runs",
                where=self.line(),
                hint=f"Give it to compile({slot.argument}=...), which makes it a constant; or put "
                "the code into a function with @esp.opaque.",
            )
        else:
            error = ProgramError(
                f"the program branches on {self._called(slot)}, or looks into it ({what}), so that "
                "what it does next is not known before the model has spoken",
                where=self.line(),
                hint=ADVICE,
            )
        self.failure = error  # the program may catch what it is told
        raise error

    def _called(self, slot: ir.Slot) -> str:
        """A value in words."""
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
        self.failure = error
        raise error

    # -- writing ops down --------------------------------------------------------------------------

    def line(self) -> str:
        """The innermost line that is neither the frontend's nor the standard library's."""
        frame = sys._getframe(1)
        while frame.f_back is not None:
            file = frame.f_code.co_filename
            if not is_frontend(file) and not file.startswith(_STDLIB):
                return str(Where(file, frame.f_lineno))
            frame = frame.f_back
        return str(caller())

    def pieces(self, text: str) -> tuple[ir.Piece, ...]:
        """Text as strings and slots. Raises ProgramError where a mark was changed."""
        found: list[ir.Piece] = []
        for at, part in enumerate(re.split(f"\ue000{self._nonce}:(\\d+)\ue001", text)):
            if at % 2:
                found.append(self._marks[int(part)])
            elif self._nonce in part:
                raise ProgramError(
                    "the program changes the text of a value that is not known before it runs",
                    where=self.line(),
                    hint=ADVICE,
                )
            elif part:
                found.append(part)
        return tuple(found)

    def fixed(self, what: str, text: str | None, where: Where) -> None:
        """Raise ProgramError where a text that must be a constant is made of values."""
        if text is not None and self._nonce in text:
            raise ProgramError(
                f"{what} depends on a value that is not known before the program runs",
                where=str(where),
                hint="It must be a constant: give the arguments that it is made of to compile().",
            )

    def data(self, value: Any) -> ir.Data:
        """A Python value in which there may be stand-ins."""
        if isinstance(value, TextSymbol | ValueSymbol):
            return value._slot
        if isinstance(value, str):
            pieces = self.pieces(value)
            if all(isinstance(piece, str) for piece in pieces):
                return ir.Constant(value)
            return ir.Template(pieces)
        if type(value) is list or type(value) is tuple:
            kind: Literal["list", "tuple"] = "list" if isinstance(value, list) else "tuple"
            return ir.Items(kind, tuple(map(self.data, value)))
        if type(value) is dict:
            for key in value:
                self.fixed("a dict's key", key if isinstance(key, str) else None, caller())
            return ir.Table(tuple(value), tuple(map(self.data, value.values())))
        return ir.Constant(value)

    def submit(self, stream: int, op: QueuedOp) -> None:
        """One op of a stream; a call's variable gets its stand-in."""
        where = str(op.where)
        match op.expr:
            case Text(text=text):
                pieces = self.pieces(text)
                self.ops.append(ir.Say(stream=stream, where=where, pieces=pieces))
            case Gen():
                self._generate(stream, op.expr, op)
            case Select():
                self._choose(stream, op.expr, op)
            case RoleBegin(role=role) | RoleEnd(role=role):
                opens = isinstance(op.expr, RoleBegin)
                self.ops.append(ir.Role(stream=stream, where=where, role=role, opens=opens))
            case ScopeBegin(name=name):
                self.fixed("a variable's name", name, op.where)
                self.ops.append(ir.Scope(stream=stream, where=where, name=name))
            case ScopeEnd(name=name):
                value = self.value()
                self.ops.append(ir.Scope(stream=stream, where=where, name=name, value=value))
                self._fill(op, ir.Slot(value=value), str)
            case None:
                raise ProgramError(f"{op.what} cannot be compiled", where=where, hint=ADVICE)
            case expr:
                raise ProgramError(f"{describe(expr)} cannot be compiled", where=where, hint=ADVICE)

    def _generate(self, stream: int, expr: Gen[Any], op: QueuedOp) -> None:
        self.fixed("a variable's name", expr.name, expr.where)
        if isinstance(expr.dtype, ToolCalls):
            self.cannot(
                f"{describe(expr)} with tools, which decides what follows,", expr.where, TOOLS
            )
        for name in ("stop", "stop_regex"):
            for text in expr.params.get(name, ()):
                self.fixed(name, text, expr.where)
        if expr.grammar is not None:
            self.fixed("a grammar", expr.grammar.source, expr.where)
        value = self.value()
        tp = None if expr.dtype is None else type_name(expr.dtype)
        if tp is not None:
            self.types[tp] = expr.dtype
        self.ops.append(
            ir.Generate(
                stream=stream,
                where=str(expr.where),
                value=value,
                name=expr.name,
                params=expr.params,
                grammar=expr.grammar,
                type=tp,
                text_in_logprobs=expr.text_in_logprobs,
                reasoning=None if expr.reasoning is None else self._reasoning(expr, op),
                heal=expr.heal,
                priority=op.priority,
            )
        )
        assert op.variable is not None
        op.variable.set(self._samples(value, expr, expr.dtype), {"value": value})

    def _samples(self, value: int, expr: Gen[Any], tp: Any) -> Any:
        """One stand-in, or as many as there are samples."""
        count = expr.params.get("n", 1)
        if count == 1:
            return self.give(ir.Slot(value=value), tp)
        return [self.give(ir.Slot(value=value, path=(number,)), tp) for number in range(count)]

    def _reasoning(self, expr: Gen[Any], op: QueuedOp) -> ir.Reasoning:
        value, form = self.value(), expr.reasoning
        assert form is not None
        if op.variable is not None and op.variable.reasoning is not None:
            op.variable.reasoning.set(self._samples(value, expr, str))
        return ir.Reasoning(value, form.start, form.end, form.forced, form.tool)

    def _choose(self, stream: int, expr: Select, op: QueuedOp) -> None:
        self.fixed("a variable's name", expr.name, expr.where)
        if expr.method is not None and METHODS.get(expr.method.name) is not expr.method:
            self.cannot(
                "a select by a rule of one's own",
                expr.where,
                f"Take one of {', '.join(METHODS)}, or run the program without compiling it.",
            )
        value = self.value()
        choices = tuple(map(self.pieces, expr.choices))
        self.ops.append(
            ir.Choose(
                stream=stream,
                where=str(expr.where),
                value=value,
                name=expr.name,
                choices=choices,
                temperature=expr.temperature,
                method=None if expr.method is None else expr.method.name,
                seed=expr.seed,
                priority=op.priority,
            )
        )
        known = all(isinstance(piece, str) for pieces in choices for piece in pieces)
        slot = ir.Slot(value=value)
        assert op.variable is not None
        op.variable.set(
            TextSymbol(self, slot, tuple(expr.choices)) if known else self.give(slot, str),
            {"value": value},
        )

    def apply(
        self,
        function: Callable[..., Any],
        gives: Any,
        arguments: Sequence[Any],
        keywords: Mapping[str, Any],
    ) -> Any:
        """A call of an opaque function that gives a value of the type `gives`."""
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

    def _fill(self, op: QueuedOp, slot: ir.Slot, tp: Any) -> None:
        assert op.variable is not None
        op.variable.set(self.give(slot, tp))


def _plain(slot: ir.Slot) -> ir.Slot:
    """The value itself, however it is written."""
    return msgspec.structs.replace(slot, conversion="", spec="", exact=False)


def possibilities(tp: Any) -> tuple[Any, ...] | None:
    """All values of a type, where they are few: bool, and literals."""
    if tp is bool:
        return (True, False)
    if get_origin(tp) is Literal:
        return tuple(get_args(tp))
    return None


def type_name(tp: Any) -> str:
    """How a saved program names a class or a function: `module:qualname`; "?" where that would not
    find it again."""
    module, name = getattr(tp, "__module__", None), getattr(tp, "__qualname__", None)
    found: Any = sys.modules.get(str(module))
    for part in str(name).split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is tp and tp is not None else f"?{tp!r}"

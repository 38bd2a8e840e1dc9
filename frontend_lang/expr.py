"""What a program says, as a tree of plain values.

`gen(...)`, `select(...)`, `system(...)` and their kin build these; nothing runs until a tree is
added to a state (`s += tree`). `+` joins trees and strings. The interpreter consumes the tree op by
op; a tracer reads the same values.

Invariant (checked by `check_invariants`)
- E1 An ExprList is flat: none of its parts is an ExprList, and no two texts stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..errors import InvalidRequestError, InvariantError
from ..grammar.spec import GrammarSpec
from .reasoning import ReasoningFormat
from .where import Where, caller

T = TypeVar("T")


class Expr:
    """Anything that can be added to a state. `where` is the program's line that made it."""

    where: Where

    def __add__(self, other: object) -> ExprList:
        return join([self, as_expr(other)])

    def __radd__(self, other: object) -> ExprList:
        return join([as_expr(other), self])

    def __str__(self) -> str:
        raise InvalidRequestError(
            f"{describe(self)} was turned into a string",
            where=str(self.where),
            hint="A call has no text before it runs. Write s += 'text ' + gen('x') instead of an "
            "f-string, and read the value with s['x'] afterwards.",
        )

    def __format__(self, spec: str) -> str:
        return str(self)


@dataclass(frozen=True, eq=False)
class Text(Expr):
    """Constant text."""

    text: str
    where: Where


@dataclass(frozen=True, eq=False)
class Gen(Expr, Generic[T]):
    """Generate tokens. `params` holds only the sampling fields that the call gave.

    name: the variable, or None. grammar: what the output must match. dtype: the Python type that
    the value is turned into. overwrite: the name may be set already. text_in_logprobs: the meta
    information tells each token's text too; None: as the run says. reasoning: how the model's
    reasoning is told from its answer; None: it is not. heal: it may finish the token that the text
    before it began (healing.py).
    """

    name: str | None
    params: dict[str, Any]
    where: Where
    grammar: GrammarSpec | None = None
    dtype: Any = None
    overwrite: bool = False
    text_in_logprobs: bool | None = None
    reasoning: ReasoningFormat | None = None
    heal: bool = False


@dataclass(frozen=True, eq=False)
class Select(Expr):
    """Choose one of `choices` by its probability. method: one of `choices`' methods, or None."""

    name: str | None
    choices: tuple[str, ...]
    where: Where
    temperature: float = 0.0
    method: Any = None
    seed: int | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class RoleBegin(Expr):
    """A chat message opens."""

    role: str
    where: Where


@dataclass(frozen=True, eq=False)
class RoleEnd(Expr):
    """A chat message closes: the template's end of turn is written, once."""

    role: str
    where: Where


@dataclass(frozen=True, eq=False)
class ScopeBegin(Expr):
    """From here on, the text belongs to the variable `name`."""

    name: str
    where: Where
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class ScopeEnd(Expr):
    """The variable `name` gets the text since its ScopeBegin."""

    name: str
    where: Where


@dataclass(frozen=True, eq=False)
class ExprList(Expr):
    """Several expressions, one after another."""

    parts: tuple[Expr, ...]
    where: Where = field(default_factory=caller)

    def __iter__(self) -> Iterator[Expr]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def check_invariants(self) -> None:
        """Raise InvariantError naming the one that broke."""
        for at, part in enumerate(self.parts):
            if isinstance(part, ExprList):
                raise InvariantError("E1: an ExprList inside an ExprList", got=repr(self))
            if at and isinstance(part, Text) and isinstance(self.parts[at - 1], Text):
                raise InvariantError("E1: two texts side by side", got=repr(self))


def check_text(text: str, where: Where) -> None:
    """Raise InvalidRequestError for text that UTF-8 cannot write (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            expected="text that UTF-8 can write",
            got=repr(text[error.start : error.end]),
            where=str(where),
            hint=f"Character {error.start} is half of a surrogate pair",
        ) from None


def check_name(name: object, where: Where, *, optional: bool = False) -> None:
    """Raise InvalidRequestError for what is no variable's name (optional: None is none, too)."""
    if not (optional and name is None) and (not isinstance(name, str) or not name):
        raise InvalidRequestError(
            expected="a variable's name as a string", got=repr(name)[:80], where=str(where)
        )


def as_expr(value: object) -> Expr:
    """An expression as it is, a string as a Text; anything else is refused."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, str):
        text = str.__str__(value)  # a subclass may show itself otherwise
        where = caller()
        check_text(text, where)
        return Text(text, where)
    hint = "Only text and calls such as gen(...) can be added to a state."
    if value is None:
        hint += " None came: does a function lack its return?"
    elif isinstance(value, int | float | bool):
        hint += " Write str(...) around the value."
    raise InvalidRequestError(
        expected="a string or an expression",
        got=f"{type(value).__name__} {value!r:.80}",
        where=str(caller()),
        hint=hint,
    )


def flatten(expr: Expr) -> tuple[Expr, ...]:
    """The ops of an expression, in order."""
    return expr.parts if isinstance(expr, ExprList) else (expr,)


def join(exprs: list[Expr]) -> ExprList:
    """One flat list; texts that meet become one."""
    parts: list[Expr] = []
    for expr in exprs:
        for part in flatten(expr):
            last = parts[-1] if parts else None
            if isinstance(part, Text) and isinstance(last, Text):
                parts[-1] = Text(last.text + part.text, last.where)
            else:
                parts.append(part)
    return ExprList(tuple(parts), exprs[0].where if exprs else caller())


def describe(expr: Expr) -> str:
    """The expression in a few words, for errors: `gen('x')`."""
    match expr:
        case Gen() | Select():
            kind = "gen" if isinstance(expr, Gen) else "select"
            return f"{kind}({expr.name!r})" if expr.name is not None else f"{kind}(...)"
        case RoleBegin():
            return f"{expr.role}_begin()"
        case RoleEnd():
            return f"{expr.role}_end()"
        case ScopeBegin() | ScopeEnd():
            return f"var_scope({expr.name!r})"
        case Text():
            return f"the text {expr.text!r:.60}"
    return "an expression"

"""What a compiled program is: ops on numbered streams, as plain data that JSON can hold.

A *stream* is one state: 0 is the program's own, a fork makes one per branch. An op stands in the
order in which the program's function said it. What a call gives is a *value* with a number; text is
made of strings and of `Slot`s that a run fills in. Where the function branches on a value of which
all possibilities are known, the block ends in a `Switch` with a block for each.

The form is versioned: a reader refuses versions that it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import msgspec

from ...errors import InvalidRequestError
from ...grammar.spec import GrammarSpec
from .aliases import TypeName

VERSION = 1
FORMAT = "espalier-program"


class Slot(msgspec.Struct, frozen=True, tag="slot", omit_defaults=True):
    """A place for a value.

    value: the number of a call's value; or argument: the name of a program's argument. meta: its
    meta information instead. path: entries of it, by index, "=key" or ".attribute".
    conversion, spec: as in an f-string. exact: it stands as it is, and must be text.
    """

    value: int | None = None
    argument: str | None = None
    meta: bool = False
    path: tuple[int | str, ...] = ()
    conversion: Literal["", "s", "r"] = ""
    spec: str = ""
    exact: bool = False

    @property
    def root(self) -> tuple[int | None, str | None]:
        """Whose value it is."""
        return self.value, self.argument


Piece: TypeAlias = "str | Slot"


class Template(msgspec.Struct, frozen=True, tag="text"):
    """Text with slots in it."""

    pieces: tuple[Piece, ...]


class Constant(msgspec.Struct, frozen=True, tag="constant"):
    """None, a bool, a number or a text."""

    data: Any = None


class Items(msgspec.Struct, frozen=True, tag="items"):
    """A list or a tuple."""

    kind: Literal["list", "tuple"]
    items: tuple[Data, ...]


class Table(msgspec.Struct, frozen=True, tag="table"):
    """A dict, its keys constants."""

    keys: tuple[Any, ...]
    items: tuple[Data, ...]


Data: TypeAlias = "Slot | Template | Constant | Items | Table"


class _Op(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """One thing that a program says. where: the program's file and line."""

    stream: int
    where: str


class Say(_Op, frozen=True, kw_only=True, tag="say"):
    """Constant text, and values as text."""

    pieces: tuple[Piece, ...]


class Reasoning(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a model's reasoning is told from its answer; `value` is its text."""

    value: int
    start: str
    end: str
    forced: bool = False
    tool: str | None = None


class Generate(_Op, frozen=True, kw_only=True, tag="gen"):
    """A `gen`. params: the sampling fields that it gave. type: the Python type of its value."""

    value: int
    name: str | None = None
    params: dict[str, Any] = {}
    grammar: GrammarSpec | None = None
    type: TypeName | None = None
    text_in_logprobs: bool | None = None
    reasoning: Reasoning | None = None
    heal: bool = False
    priority: int | None = None

    def __post_init__(self) -> None:
        """JSON has lists for tuples, texts for keys, and null for what bans a token."""
        params: dict[str, Any] = {}
        for name, given in self.params.items():
            if isinstance(given, dict):
                given = {int(key): -math.inf if v is None else v for key, v in given.items()}
            params[name] = tuple(given) if isinstance(given, list) else given
        msgspec.structs.force_setattr(self, "params", params)


class Choose(_Op, frozen=True, kw_only=True, tag="select"):
    """A `select`."""

    value: int
    choices: tuple[tuple[Piece, ...], ...]
    name: str | None = None
    temperature: float = 0.0
    method: str | None = None
    seed: int | None = None
    priority: int | None = None


class Role(_Op, frozen=True, kw_only=True, tag="role"):
    """A chat message opens or closes."""

    role: str
    opens: bool


class Scope(_Op, frozen=True, kw_only=True, tag="scope"):
    """A variable's text begins; or ends, and is `value`."""

    name: str
    value: int | None = None


class Fork(_Op, frozen=True, kw_only=True, tag="fork"):
    """Streams that begin as this one is now."""

    branches: tuple[int, ...]


class Join(_Op, frozen=True, kw_only=True, tag="join"):
    """What the branches made comes home. keeps: branches whose failure is kept as a value.
    fail_fast: the first failure cancels the others. names: the variables that they set, and the
    number of the list of each."""

    branches: tuple[int, ...]
    mode: Literal["gather_variable", "concate_and_append"] = "gather_variable"
    keeps: tuple[int, ...] = ()
    fail_fast: bool = False
    names: dict[str, int] = {}


class Assign(_Op, frozen=True, kw_only=True, tag="set"):
    """A variable set by hand."""

    name: str
    value: int
    data: Data


class Apply(_Op, frozen=True, kw_only=True, tag="call"):
    """A Python function, `module:qualname`, that is called with values."""

    value: int
    function: str
    arguments: tuple[Data, ...] = ()
    keywords: dict[str, Data] = {}


Kind = Literal["gen", "reasoning", "select", "scope", "join", "set"]
"""Of values: what gives them."""
Op: TypeAlias = Say | Generate | Choose | Role | Scope | Fork | Join | Assign | Apply


class Case(msgspec.Struct, frozen=True):
    """What follows where a value is one of `values`."""

    values: tuple[Any, ...]
    block: Block


class Switch(msgspec.Struct, frozen=True):
    """The rest depends on a value. where: the line that branches."""

    slot: Slot
    where: str
    cases: tuple[Case, ...]


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """Ops, and what comes after them: a switch, or the end with what the function returns."""

    ops: tuple[Op, ...]
    switch: Switch | None = None
    returns: Data = Constant()


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """An argument of the program; `default` where it has one."""

    name: str
    optional: bool = False
    default: Any = None
    keyword_only: bool = False


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled program. fixed: the arguments that were constants, as Python writes them.
    options, num_api_spec_tokens: of a saved one, what a run takes beside its arguments."""

    name: str
    where: str
    parameters: tuple[Parameter, ...]
    block: Block
    fixed: dict[str, str] = {}
    options: dict[str, Any] = {}
    num_api_spec_tokens: int | None = None
    format: str = FORMAT
    version: int = VERSION


def encode(graph: Graph) -> bytes:
    """The graph as JSON. Raises InvalidRequestError, with the line, for what JSON cannot hold: a
    constant, or a type or a function that cannot be imported by a name."""
    for name, value in graph.options.items():
        for each in value if isinstance(value, list | tuple) else (value,):
            _check_constant(each, graph.where, f"the option {name}")
    for parameter in graph.parameters:
        _check_constant(parameter.default, graph.where, f"the default of {parameter.name}")
    for block in blocks(graph.block):
        for op in block.ops:
            name = str(getattr(op, "type", None) or getattr(op, "function", ""))
            if name.startswith("?"):
                called = name.partition(":")[2] or name[1:]
                raise InvalidRequestError(
                    f"{called} has no name that a saved program can import",
                    where=op.where,
                    hint="Define it at the top of a module, under a name of its own.",
                )
            for data in data_of(op):
                _check_data(data, op.where)
        _check_data(block.returns, graph.where)
    return msgspec.json.format(msgspec.json.encode(graph), indent=1)


def _check_data(data: Data, where: str) -> None:
    match data:
        case Items(items=items):
            for item in items:
                _check_data(item, where)
        case Table(keys=keys, items=items):
            for item in items:
                _check_data(item, where)
            for key in keys:
                if not isinstance(key, str):
                    _check_constant(key, where, "a dict's key")
        case Constant(data=value):
            _check_constant(value, where, "a constant")


def _check_constant(value: Any, where: str, what: str) -> None:
    plain = value is None or type(value) in (bool, int, str)
    if not plain and not (type(value) is float and math.isfinite(value)):
        raise InvalidRequestError(
            f"{what} cannot be saved", expected="None, a bool, a number or a text",
            got=f"{type(value).__name__} {value!r:.60}", where=where,
        )  # fmt: skip


def decode(data: bytes | str) -> Graph:
    """A graph from JSON. Raises InvalidRequestError for what is none, naming the place."""
    try:
        parsed = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's own is a ValueError
        raise _none(error) from error
    return convert(parsed)


def convert(data: Any) -> Graph:
    """`decode`, of JSON that is parsed already."""
    try:
        head = msgspec.convert(data, type=_Head)
        if head.format == FORMAT and head.version == VERSION:
            return msgspec.convert(data, type=Graph)
    except (ValueError, RecursionError) as error:
        raise _none(error) from error
    raise InvalidRequestError(
        expected=f"{FORMAT} of version {VERSION}",
        got=f"{head.format!r:.40} of version {head.version}",
        hint="Compile the program again with this version.",
    )


def _none(error: Exception) -> InvalidRequestError:
    return InvalidRequestError(
        expected="a compiled program as JSON", got=str(error)[:200] or "nothing"
    )


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0


def blocks(block: Block) -> Iterator[Block]:
    """It and all below it, cases in order."""
    todo = [block]
    while todo:
        found = todo.pop()
        yield found
        if found.switch is not None:
            todo.extend(case.block for case in reversed(found.switch.cases))


def ops(block: Block) -> Iterator[Op]:
    """The ops of all its blocks."""
    for found in blocks(block):
        yield from found.ops


def ways(block: Block) -> Iterator[list[Op]]:
    """The ops of each way through the blocks, to its end."""
    todo: list[tuple[list[Op], Block]] = [([], block)]
    while todo:
        before, found = todo.pop()
        chain = [*before, *found.ops]
        if found.switch is None:
            yield chain
        else:
            todo.extend((chain, case.block) for case in reversed(found.switch.cases))


def slots(data: Data) -> Iterator[Slot]:
    """The slots that a datum holds."""
    match data:
        case Slot():
            yield data
        case Template(pieces=pieces):
            yield from (piece for piece in pieces if isinstance(piece, Slot))
        case Items(items=items) | Table(items=items):
            for item in items:
                yield from slots(item)


def data_of(op: Op) -> Iterator[Data]:
    """What an op waits for, as data."""
    match op:
        case Say(pieces=pieces):
            yield Template(pieces)
        case Choose(choices=choices):
            yield from map(Template, choices)
        case Assign(data=data):
            yield data
        case Apply(arguments=arguments, keywords=keywords):
            yield from arguments
            yield from keywords.values()


def slots_of(op: Op) -> Iterator[Slot]:
    """The slots that an op waits for."""
    for data in data_of(op):
        yield from slots(data)


def gives(op: Op) -> Iterator[tuple[int, Kind]]:
    """The numbers of the values that an op gives; an @opaque function's is nobody's to read."""
    match op:
        case Generate(value=value, reasoning=reasoning):
            yield value, "gen"
            if reasoning is not None:
                yield reasoning.value, "reasoning"
        case Choose(value=value):
            yield value, "select"
        case Scope(value=int(value)):
            yield value, "scope"
        case Join(names=names):
            for value in names.values():
                yield value, "join"
        case Assign(value=value):
            yield value, "set"
        case _:
            pass

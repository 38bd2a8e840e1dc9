"""From a program's function to its graph: traces for every way that it may take.

The function is run once per way, and again with plain values in place of stand-ins (probes.py), so
it should do nothing but say what it says; what does more belongs into an @opaque function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import EspalierError, NotSupportedError, ProgramError
from ..body import program_failure
from ..state import ProgramState
from . import ir
from .aliases import TypeName
from .opaque import hints
from .states import TraceForks, TraceState
from .tracing import ADVICE, Tracing, Undecided, current
from .watch import Watch

if TYPE_CHECKING:
    from ..function import Program

MOST_WAYS = 256


@dataclass
class Way:
    """One way through the program, to its end: the group followed at each decision, and all ops."""

    path: tuple[int, ...]
    ops: list[ir.Op]
    returns: ir.Data


@dataclass
class Traced:
    """A graph, and the Python objects that it names. ways: how it was found, for the probes."""

    graph: ir.Graph
    types: dict[TypeName, Any] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    ways: list[Way] = field(default_factory=list)


def explore(program: Program[...]) -> Traced:
    """The program's graph. Raises ProgramError, with the line and what to do, for a program that
    depends on what is not known before it runs."""
    explorer = _Explorer(program)
    block = explorer.grow((), [])
    graph = ir.Graph(
        name=program.name,
        where=str(program.where),
        parameters=parameters(program),
        fixed={name: repr(value)[:200] for name, value in program._bound.items()},
        block=block,
    )
    return Traced(graph, explorer.types, explorer.functions, explorer.ways)


class _Explorer:
    def __init__(self, program: Program[...]) -> None:
        self.program = program
        self.types: dict[TypeName, Any] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.ways: list[Way] = []
        self._traces = 0

    def grow(self, path: tuple[int, ...], before: Sequence[ir.Op]) -> ir.Block:
        """The block that follows these decisions; `before`: the ops that stand before it."""
        self._traces += 1
        tracing, returned = run(self.program, path)
        self.types |= tracing.types
        self.functions |= tracing.functions
        start = len(before)
        if not same(tracing.ops[:start], list(before)):
            raise ProgramError(
                f"{self.program.name} does not say the same each time it is run",
                where=str(self.program.where),
                hint="A compiled program must be a function of its arguments: put what reads a "
                "clock, a file or a random number into a function with @esp.opaque.",
            )
        ops = tuple(tracing.ops[start:])
        undecided = tracing.failure
        if not isinstance(undecided, Undecided):
            self.ways.append(Way(path, tracing.ops, returned))
            return ir.Block(ops, returns=returned)
        if self._traces + len(undecided.groups) > MOST_WAYS:
            raise ProgramError(
                f"{self.program.name} branches in more than {MOST_WAYS} ways",
                where=undecided.where,
                hint="Bound the loop, or let an @esp.opaque function decide.",
            )
        cases = tuple(
            ir.Case(group, self.grow((*path, number), tracing.ops))
            for number, group in enumerate(undecided.groups)
        )
        return ir.Block(ops, ir.Switch(undecided.slot, undecided.where, cases))


def same(one: Any, other: Any) -> bool:
    """Whether they are equal; what cannot tell is not."""
    try:
        return bool(one == other)
    except Exception:  # an array's; whatever a constant's class says
        return False


def run(
    program: Program[...], path: Sequence[int], probe: Callable[[ir.Slot, type], Any] | None = None
) -> tuple[Tracing, ir.Data]:
    """One trace, and what the function returned; with a probe, of the function as it is.

    `tracing.failure` is an Undecided where it stopped at a decision that `path` does not make.
    Raises what the trace came to else.
    """
    tracing = Tracing(path, probe)
    state = TraceState(tracing)
    token = current.set(tracing)
    returned: ir.Data = ir.Constant()
    try:
        body: Any = program.body if probe is not None else Watch(tracing).function(program.body)
        args, kwargs = program.placed(arguments(program, tracing))
        value = body(state, *args, **kwargs)
        if isinstance(value, ProgramState | TraceForks):
            raise ProgramError(
                f"{program.name} returns its state",
                where=str(program.where),
                hint="Return values, such as s['x'], or nothing: run() gives the state.",
            )
        returned = tracing.data(value)
        tracing.check_assigned()
    except Undecided:
        pass
    except Exception as error:
        if tracing.failure is None:
            line = program_failure(program.name, error, program.where).where or ""
            tracing.failure = as_failure(error, program.name, line)
    finally:
        current.reset(token)
    if isinstance(tracing.failure, Undecided):
        tracing.ops = tracing.failure.ops
        return tracing, ir.Constant()
    if tracing.failure is not None:
        raise tracing.failure
    return tracing, returned


def arguments(program: Program[...], tracing: Tracing) -> dict[str, Any]:
    """Constants for the arguments that are given, stand-ins for the others."""
    known = hints(program.body)
    made = {}
    for name in program._signature.parameters:
        if name in program._bound:
            made[name] = program._bound[name]
        else:
            made[name] = tracing.give(ir.Slot(argument=name), known.get(name))
    return made


def parameters(program: Program[...]) -> tuple[ir.Parameter, ...]:
    """The arguments that a run gives. Raises NotSupportedError for `*args` and `**kwargs`."""
    found = []
    for name, parameter in program._signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise NotSupportedError(
                f"{program.name} takes {parameter}, and how many those are is not known",
                where=str(program.where),
                hint="Name the arguments; bind() gives constants.",
            )
        if name in program._bound:
            continue
        has = parameter.default is not inspect.Parameter.empty
        found.append(
            ir.Parameter(
                name,
                optional=has,
                default=parameter.default if has else None,
                keyword_only=parameter.kind is parameter.KEYWORD_ONLY,
            )
        )
    return tuple(found)


def as_failure(error: BaseException, program: str, line: str) -> EspalierError:
    """What a function raised while it was traced."""
    if isinstance(error, ProgramError):
        return error
    if isinstance(error, EspalierError):
        error.where = error.where or line
        return error
    failure = ProgramError(
        f"{program} raised {type(error).__name__} while it was traced: {error}",
        where=line,
        hint="In a trace, arguments and generated values are stand-ins that can be put into text "
        "and not be looked into. " + ADVICE,
    )
    failure.__cause__ = error
    return failure

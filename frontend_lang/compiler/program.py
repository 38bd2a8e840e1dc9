"""`CompiledProgram`: a program as a graph, to be run, checked, drawn and saved."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import InvalidRequestError, NotSupportedError
from ..backends.default import resolve
from ..driver import driver, refuse_to_wait_here
from ..session import Machine
from ..state import ProgramState
from ..where import Where
from . import ir, probes
from .bound import Bound
from .execute import Execution
from .explore import Traced, explore

if TYPE_CHECKING:
    from ..function import Program


class CompiledProgram:
    """Made by `program.compile()` or `CompiledProgram.load(file)`.

    A run gives what the interpreted one gives, token for token; it needs no thread and does not run
    the program's function.
    """

    def __init__(self, program: Program[...], traced: Traced) -> None:
        self.program = program
        self.ir = traced.graph
        self._bound = Bound(traced.graph, traced.types, traced.functions)

    @property
    def name(self) -> str:
        """The program's name."""
        return self.ir.name

    @property
    def arg_names(self) -> list[str]:
        """The arguments that a run gives."""
        return [parameter.name for parameter in self.ir.parameters]

    # -- running -----------------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> ProgramState:
        """Run it and wait for all its calls; keywords are those of `Program.run`. Raises what the
        interpreted run raises."""
        arguments, options = self.given(args, kwargs)
        machine = Machine(resolve(options.get("backend")))
        state = self.program.start_state(options, machine)
        future = self.start(state, arguments)
        if options.get("stream"):
            future.add_done_callback(lambda done: self._ended(state, done))
            return state.for_readers()
        self._wait(state, future)
        state.finish()
        return state

    def run_batch(
        self,
        batch: Iterable[Any],
        *,
        progress_bar: bool = False,
        num_threads: int | Literal["auto"] = "auto",
        order: Literal["prefix", "given"] = "prefix",
        generator_style: bool = False,
        **options: Any,
    ) -> list[ProgramState] | Iterator[ProgramState]:
        """`Program.run_batch`, by the graph. num_threads: how many programs run at a time; "auto"
        lets as many run as the backend's cache has room for."""
        raise NotImplementedError

    def given(self, args: Any, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The program's arguments by name, defaults filled in, and the run's options."""
        split = self.program._split(kwargs)
        options = {**self.program._options, **split["options"]}
        if not options.get("use_thread", True):
            raise InvalidRequestError(
                "a compiled program runs independent streams at once",
                where="use_thread",
                hint="Leave use_thread out, or run the program without compiling it.",
            )
        for name in split["arguments"]:
            if name in self.ir.fixed:
                raise InvalidRequestError(
                    f"{name} was fixed when the program was compiled",
                    got=repr(split["arguments"][name])[:80],
                    where=name,
                    hint="Compile it again without it, or with another value.",
                )
        return self.program.bind_arguments(args, split["arguments"]), options

    def start(self, state: ProgramState, arguments: Mapping[str, Any]) -> Future[None]:
        """Begin a run on a fresh state."""
        execution = Execution(self._bound, state, arguments)
        return asyncio.run_coroutine_threadsafe(execution.perform(), driver().loop)

    def _wait(self, state: ProgramState, future: Future[None]) -> None:
        refuse_to_wait_here()
        session = state.session
        try:
            future.result()
        except BaseException:
            if not future.done():  # an interrupt
                session.cancel("the program raised")
                future.exception()
            raise
        finally:
            session.wait()
            session.holds.close()

    def _ended(self, state: ProgramState, future: Future[None]) -> None:
        error = future.exception()
        failure = None if error is None else self.program.failure(error)
        state.session.holds.close()
        state.finish(failure)

    # -- looking at it -----------------------------------------------------------------------------

    def to_json(self) -> str:
        """The graph as JSON text. Raises InvalidRequestError where it names a type or a function
        that has no name, or holds a constant that JSON cannot."""
        return ir.encode(self.ir).decode()

    def save(self, file: str | Path) -> None:
        """Write it as JSON, for `load`."""
        Path(file).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, file: str | Path, names: Mapping[str, Any] | None = None) -> CompiledProgram:
        """What `save` wrote. Types and functions that it names are imported, as they would be if
        its module were; names: these and no others, by `module:qualname`."""
        return cls.from_json(Path(file).read_text(encoding="utf-8"), names)

    @classmethod
    def from_json(
        cls, text: str | bytes, names: Mapping[str, Any] | None = None
    ) -> CompiledProgram:
        """`load`, from the text."""
        graph = ir.decode(text)
        traced = Traced(graph)
        for op in ir.ops(graph.block):
            if isinstance(op, ir.Generate) and op.type is not None:
                traced.types[op.type] = named(op.type, names, op.where)
            elif isinstance(op, ir.Apply):
                traced.functions[op.function] = named(op.function, names, op.where)
        return cls(shell(graph), traced)

    def __repr__(self) -> str:
        return f"CompiledProgram({self.name}, {sum(1 for _ in ir.ops(self.ir.block))} ops)"


def compile_program(program: Program[...]) -> CompiledProgram:
    """Trace it, hold the graph to the function, and make it ready to run. Raises ProgramError for a
    program that depends on what is not known before it runs."""
    traced = explore(program)
    probes.check(program, traced.ways)
    return CompiledProgram(program, traced)


def named(name: str, names: Mapping[str, Any] | None, where: str) -> Any:
    """What a saved program calls `module:qualname`. Raises InvalidRequestError where it is not
    there, or not among `names`."""
    if names is not None and name in names:
        return names[name]
    module, _, path = name.partition(":")
    found: Any = None
    if names is None:
        try:
            found = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise InvalidRequestError(
                f"{name} cannot be imported: {error}",
                where=where,
                hint="Load the program where its module can be imported, or give names={...}.",
            ) from error
        return found
    raise InvalidRequestError(
        expected=f"one of {', '.join(names) or 'no names'}", got=name, where=where
    )


def shell(graph: ir.Graph) -> Program[...]:
    """A program without a function, that binds arguments as the graph's did."""
    from ..function import Program

    def body(s: ProgramState, *_args: Any, **_kwargs: Any) -> None:  # noqa: ARG001
        raise NotSupportedError(
            f"{graph.name} was loaded without its function",
            where=graph.where,
            hint="Run the compiled program.",
        )

    kinds = inspect.Parameter
    parameters = [kinds("s", kinds.POSITIONAL_ONLY)]
    for each in graph.parameters:
        parameters.append(
            kinds(
                each.name,
                kinds.KEYWORD_ONLY if each.keyword_only else kinds.POSITIONAL_OR_KEYWORD,
                default=each.default if each.optional else kinds.empty,
            )
        )
    body.__name__ = graph.name
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    program: Program[...] = Program(body)
    file, _, line = graph.where.rpartition(":")
    program.where = Where(file, int(line) if line.isdigit() else 0)
    return program

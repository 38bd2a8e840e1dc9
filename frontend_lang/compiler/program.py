"""`CompiledProgram`: a program as a graph, to be run, checked, drawn and saved."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from ...errors import InvalidRequestError, NotSupportedError, ProgramError
from ...types import check_names
from ..backends.conform import compiled as conforms_to
from ..backends.default import resolve
from ..batch import check_batch
from ..driver import driver, refuse_to_wait_here
from ..options import run_fields
from ..state import ProgramState
from ..typed import grammar_of
from . import draw, ir, probes
from .aliases import type_of
from .bound import Bound
from .bounds import Bounds, bounds_with
from .checks import Finding, check
from .execute import Execution
from .explore import Traced, explore
from .opaque import is_opaque
from .saving import named, shell, with_options
from .validate import validated

if TYPE_CHECKING:
    from ..function import Program
    from .remote import RemoteRun


class CompiledProgram:
    """Made by `program.compile()` or `CompiledProgram.load(file)`.

    A run gives what the interpreted one gives, token for token; it needs no thread and does not run
    the program's function.
    """

    def __init__(self, program: Program[...], traced: Traced) -> None:
        self.program = program
        self.ir = traced.graph
        self.bound = Bound(traced.graph, traced.types, traced.functions)

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
        keywords, options = self.given(kwargs)
        arguments = self.bind(args, keywords)
        refuse_to_wait_here()
        state = self.program.begin(options)
        future = asyncio.run_coroutine_threadsafe(self.perform(state, arguments), driver().loop)
        if options.get("stream"):
            future.add_done_callback(lambda done: self._ended(state, done.exception()))
            return state.for_readers()
        try:
            future.result()
        except BaseException:
            if not future.done():  # an interrupt
                state.session.cancel("the program raised")
                future.exception()
            raise
        return state

    def _ended(self, state: ProgramState, error: BaseException | None) -> None:
        """A streaming run has: its readers get what it raised."""
        if error is not None:
            state.finish(self.program.failure(error))

    def run_remote(self, *args: Any, **kwargs: Any) -> RemoteRun:
        """Run it on the server of an `HTTPBackend`, in one request: keywords are those of `run`.

        The calls are made there, beside the cache, and nothing crosses between them. The server
        runs no Python of the program's: an @opaque function, and text that uses a value of a class,
        are refused with their line. A program that fails on its way is told by the run's `error()`.
        """
        from ..backends.http import HTTPBackend
        from .remote import RemoteRun, request

        keywords, options = self.given(kwargs)
        arguments = self.bind(args, keywords)
        self.program.settings(options)
        backend = resolve(options.get("backend"))
        if not isinstance(backend, HTTPBackend):
            raise InvalidRequestError(
                expected="backend=esp.HTTPBackend(url)", got=repr(backend)[:80], where="backend"
            )
        if options.get("stream"):
            raise NotSupportedError(
                "run_remote does not stream",
                where="stream",
                hint='Read the events of POST /v1/programs with `"stream": true` (docs/serve.md).',
            )
        return RemoteRun(self, arguments, backend.run_program(request(self, arguments, options)))

    @overload
    def run_batch(
        self,
        batch: Iterable[Any],
        *,
        progress_bar: bool = ...,
        num_threads: int | Literal["auto"] = ...,
        order: Literal["prefix", "given"] = ...,
        generator_style: Literal[False] = ...,
        **options: Any,
    ) -> list[ProgramState]: ...
    @overload
    def run_batch(
        self,
        batch: Iterable[Any],
        *,
        progress_bar: bool = ...,
        num_threads: int | Literal["auto"] = ...,
        order: Literal["prefix", "given"] = ...,
        generator_style: Literal[True],
        **options: Any,
    ) -> Iterator[ProgramState]: ...
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
        lets as many run as the backend's cache has room for. Seeds are the interpreted batch's."""
        from ..function import RUN_NAMES
        from .batch import Batch

        check_names(f"{self.name}.run_batch", options, RUN_NAMES)
        check_batch(batch, order, options)
        given = {**self.program._options, **options}
        self.check_thread(given)
        runner = Batch(self, given, num_threads)
        if generator_style:
            return runner.lazily(batch, progress_bar)
        return list(runner.at_once(list(batch), order, progress_bar))

    def given(self, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The program's arguments and the run's options among the keywords."""
        split = self.program._split(kwargs)
        options = {**self.program._options, **split["options"]}
        self.check_thread(options)
        return split["arguments"], options

    @staticmethod
    def check_thread(options: Mapping[str, Any]) -> None:
        """Raise InvalidRequestError for an option that cannot be honoured."""
        if not options.get("use_thread", True):
            raise InvalidRequestError(
                "a compiled program runs independent streams at once",
                where="use_thread",
                hint="Leave use_thread out, or run the program without compiling it.",
            )

    def bind(self, args: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """The program's arguments by name, defaults filled in. Raises InvalidRequestError saying
        what is wrong."""
        for name in keywords:
            if name in self.ir.fixed:
                raise InvalidRequestError(
                    f"{name} was fixed when the program was compiled",
                    got=repr(keywords[name])[:80],
                    where=name,
                    hint="Compile it again without it, or with another value.",
                )
        names = [each.name for each in self.ir.parameters if not each.keyword_only]
        if len(args) <= len(names) and not keywords.keys() & set(names[: len(args)]):
            keywords, args = {**dict(zip(names, args, strict=False)), **keywords}, ()
        return self.program.bind_arguments(args, keywords)

    async def perform(self, state: ProgramState, arguments: Mapping[str, Any]) -> int:
        """One run on a fresh state, on the driver's loop; returns how many distinct tokens it came
        to. Raises what the program raises."""
        execution = Execution(self.bound, state, arguments)
        try:
            await execution.perform()
        finally:
            state.session.close()
        state.finish()
        return execution.grown()

    # -- looking at it -----------------------------------------------------------------------------

    def check(self, backend: Any = None) -> list[Finding]:
        """What is wrong or worth knowing, by file and line; grammars are compiled for it. With a
        backend, also whether its context is long enough. An empty list: nothing."""
        if backend is None:
            return check(self.ir, compiles=conforms_to)
        context = resolve(backend).info().get("max_context")
        try:
            found = self.bounds(backend)
        except ProgramError:  # its roles do not nest, which a finding tells
            found = None
        return check(self.ir, found, context, conforms_to)

    def bounds(self, backend: Any = None, **arguments: Any) -> Bounds:
        """Tokens that a run will ask for at most, counted with the backend's tokenizer; arguments
        that are not given count nothing."""
        check_names(f"{self.name}.bounds", arguments, self.arg_names)
        tokenizer = resolve(backend).tokenizer
        return bounds_with(self.ir, tokenizer, arguments, run_fields(self.program._options))

    def graph(self, form: Literal["text", "json", "svg"] = "text") -> str:
        """A picture of the program: for a terminal, as data, or as an image."""
        if form == "json":
            return self.to_json()
        if form not in ("text", "svg"):
            raise InvalidRequestError(
                expected="'text', 'json' or 'svg'", got=repr(form)[:80], where="graph"
            )
        return draw.text(self.ir) if form == "text" else draw.svg(self.ir)

    def _repr_svg_(self) -> str:
        """In a notebook."""
        return draw.svg(self.ir)

    def to_json(self) -> str:
        """The graph as JSON text. Raises InvalidRequestError where it names a type or a function
        that has no name, or holds a constant that JSON cannot."""
        return ir.encode(with_options(self.ir, self.program)).decode()

    def save(self, file: str | Path) -> None:
        """Write it as JSON, for `load`."""
        Path(file).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(
        cls,
        file: str | Path,
        names: Mapping[str, Any] | None = None,
        *,
        modules: Collection[str] = (),
    ) -> CompiledProgram:
        """What `save` wrote. A file is data: of the types and functions that it names, those in
        `names` (by `module:qualname`) are taken, and of the modules in `modules` the types that a
        gen takes and the functions that are @esp.opaque. Nothing else is imported."""
        return cls.from_json(Path(file).read_text(encoding="utf-8"), names, modules=modules)

    @classmethod
    def from_json(
        cls,
        text: str | bytes,
        names: Mapping[str, Any] | None = None,
        *,
        modules: Collection[str] = (),
    ) -> CompiledProgram:
        """`load`, from the text."""
        traced = cls._decoded(text)
        for op in ir.ops(traced.graph.block):
            if isinstance(op, ir.Generate) and op.type is not None:
                found = type_of(op.type, partial(named, names or {}, modules, op.where), op.where)
                grammar_of(found)
                traced.types[op.type] = found
            elif isinstance(op, ir.Apply):
                found = named(names or {}, modules, op.where, op.function)
                if not is_opaque(found):
                    raise InvalidRequestError(
                        expected="a function with @esp.opaque", got=op.function, where=op.where
                    )
                traced.functions[op.function] = found
        return cls._shelled(traced)

    @classmethod
    def to_check(cls, text: str | bytes) -> CompiledProgram:
        """A saved program to be looked at, and not to be run: nothing that it names is needed."""
        return cls._shelled(cls._decoded(text))

    @classmethod
    def _shelled(cls, traced: Traced) -> CompiledProgram:
        made = shell(traced.graph)
        traced.graph = msgspec.structs.replace(traced.graph, options={}, num_api_spec_tokens=None)
        return cls(made, traced)

    @staticmethod
    def _decoded(text: str | bytes) -> Traced:
        graph = validated(ir.decode(text))
        gens = (op for op in ir.ops(graph.block) if isinstance(op, ir.Generate))
        return Traced(graph, {op.type: str for op in gens if op.type is not None})

    def __repr__(self) -> str:
        return f"CompiledProgram({self.name}, {sum(1 for _ in ir.ops(self.ir.block))} ops)"


def compile_program(program: Program[...]) -> CompiledProgram:
    """Trace it, hold the graph to the function, and make it ready to run. Raises ProgramError for a
    program that depends on what is not known before it runs."""
    traced = explore(program)
    probes.check(program, traced.ways)
    return CompiledProgram(program, traced)

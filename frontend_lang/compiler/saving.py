"""What a saved program is beside its graph: a run's options; and what a reader makes of its names.

A file is data: nothing that it names is taken but what its reader allows.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import InvalidRequestError, NotSupportedError
from ...types import check_names
from ..options import check_spec_tokens, run_seed
from ..state import ProgramState
from ..where import Where
from . import ir
from .aliases import KNOWN

if TYPE_CHECKING:
    from ..function import Program

_OF_A_RUN = ("namespace", "priority", "deadline", "stream", "use_thread")


def with_options(graph: ir.Graph, program: Program[...]) -> ir.Graph:
    """The graph as it is saved: with the run's options, the program's own defaults among them.
    Raises InvalidRequestError for a backend, which no file holds."""
    given = {name: value for name, value in program._options.items() if value is not None}
    if "backend" in given:
        raise InvalidRequestError(
            "a backend cannot be saved",
            where=graph.where,
            hint="Leave it out of compile(), and give it to run().",
        )
    options = {name: given[name] for name in given if name in _OF_A_RUN}
    seed = run_seed(given)
    if seed is not None:
        options["seed"] = seed
    settings = program.settings(given)
    options |= settings["defaults"]
    if settings["text_in_logprobs"]:
        options["return_text_in_logprobs"] = True
    return msgspec.structs.replace(
        graph,
        options={name: value for name, value in options.items() if value is not None},
        num_api_spec_tokens=program.num_api_spec_tokens,
    )


def named(names: Mapping[str, Any], modules: Collection[str], where: str, name: str) -> Any:
    """What a saved program calls `module:qualname`. Raises InvalidRequestError where it is neither
    among `names` nor in one of `modules`."""
    if name in names:
        return names[name]
    if name in KNOWN:
        return KNOWN[name]
    module, _, path = name.partition(":")
    parts = path.split(".")
    if module not in modules or any(part.startswith("_") for part in parts):
        raise InvalidRequestError(
            expected=f"one of {', '.join(names) or 'no names'}, or of a module among "
            f"{', '.join(modules) or 'none'}",
            got=name[:200],
            where=where,
            hint="A file is data: load(file, modules=[...]) names the modules of the types and "
            "opaque functions that it may use, names={...} the objects themselves.",
        )
    try:
        found: Any = importlib.import_module(module)
        for part in parts:
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidRequestError(
            f"{name} cannot be imported: {error}",
            where=where,
            hint="Load the program where its module can be imported, or give names={...}.",
        ) from error
    return found


def shell(graph: ir.Graph) -> Program[...]:
    """A program without a function, that binds arguments as the graph's did."""
    from ..function import RUN_NAMES, Program

    def body(s: ProgramState, *_args: Any, **_kwargs: Any) -> None:  # noqa: ARG001
        raise NotSupportedError(
            f"{graph.name} was loaded without its function",
            where=graph.where,
            hint="Run the compiled program.",
        )

    body.__name__ = graph.name
    body.__signature__ = signature(graph)  # type: ignore[attr-defined]
    check_names("the options of a program", graph.options, RUN_NAMES)
    program: Program[...] = Program(
        body, options=graph.options, num_api_spec_tokens=graph.num_api_spec_tokens
    )
    check_spec_tokens(graph.num_api_spec_tokens)
    program.settings(graph.options)
    program.where = Where.of(graph.where)
    return program


def signature(graph: ir.Graph) -> inspect.Signature:
    """The function's, its state first. Raises InvalidRequestError for what no function has."""
    kinds = inspect.Parameter
    state = "s"
    while state in {each.name for each in graph.parameters}:
        state += "_"
    parameters = [kinds(state, kinds.POSITIONAL_ONLY)]
    try:
        for each in graph.parameters:
            kind = kinds.KEYWORD_ONLY if each.keyword_only else kinds.POSITIONAL_OR_KEYWORD
            default = each.default if each.optional else kinds.empty
            parameters.append(kinds(each.name, kind, default=default))
        return inspect.Signature(parameters)
    except ValueError as error:
        raise InvalidRequestError(
            "the compiled program makes no sense",
            expected="the parameters of a function",
            got=str(error)[:200],
            where=graph.where,
        ) from None

"""`sglang.lang.interpreter`: states, and running a program by hand."""

from __future__ import annotations

from typing import Any

from ..frontend_lang.fork import Forks as ProgramStateGroup
from ..frontend_lang.state import ProgramState
from .programs import SglFunction
from .refused import refused

StreamExecutor = refused("StreamExecutor", "Use the state itself: s.text(), s.sync(), s.error().")
cache_program = refused("cache_program", "Batches share their prefixes as they run.")
run_internal = refused("run_internal", "Use program.run(...).")


def run_program(
    program: SglFunction,
    backend: Any,
    func_args: tuple[Any, ...],
    func_kwargs: dict[str, Any],
    default_sampling_para: Any,
    stream: bool,
    sync: bool = False,
    use_thread: bool = True,
) -> ProgramState:
    """`program.run` with its sampling parameters as one object."""
    state = program.using(**_options(default_sampling_para)).run(
        *func_args, **func_kwargs, backend=backend, stream=stream, use_thread=use_thread
    )
    return state.sync() if sync else state


def run_program_batch(
    program: SglFunction,
    backend: Any,
    batch_arguments: list[dict[str, Any]],
    default_sampling_para: Any,
    num_threads: Any,
    progress_bar: bool,
    generator_style: bool = False,
) -> Any:
    """`program.run_batch` with its sampling parameters as one object."""
    bound: Any = program.using(**_options(default_sampling_para))
    return bound.run_batch(
        batch_arguments,
        backend=backend,
        num_threads=num_threads,
        progress_bar=progress_bar,
        generator_style=generator_style,
    )


def _options(params: Any) -> dict[str, Any]:
    given = {name: value for name, value in vars(params).items() if value is not None}
    given["min_tokens"] = given.pop("min_new_tokens")
    return given


__all__ = [
    "ProgramState",
    "ProgramStateGroup",
    "StreamExecutor",
    "cache_program",
    "run_internal",
    "run_program",
    "run_program_batch",
]

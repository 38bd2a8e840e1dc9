"""`program.cache()`: what every run of a program begins with, computed before any.

The program is begun twice, each time with arguments that hold texts of their own and with a backend
that answers nothing: what both had said when they stopped, as far as it is the same, hangs on no
argument and no answer. A wrong guess (the program asks what its arguments are) costs computation
alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

from ..errors import ProgramError
from ..frontend_lang.backends.base import Backend, Call, Scoring
from ..frontend_lang.function import Program
from ..frontend_lang.scopes import compute_prefix
from ..frontend_lang.session import Machine
from ..frontend_lang.tokens import common_prefix
from ..types import Chunk, Result

_ARGUMENTS = ("Q\u00b1", "7\u00a7")  # no program begins with either


class _Silent:
    """A backend that answers nothing; the rest is the real one's."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def generate(self, call: Call) -> Result:
        raise ProgramError("the program's first call", where=call.where)

    def stream(self, call: Call) -> AsyncIterator[Chunk]:
        raise ProgramError("the program's first call", where=call.where)

    async def score(self, scoring: Scoring) -> list[Result]:
        raise ProgramError("the program's first call", where=scoring.where)


def cache_prefix(program: Program[Any], backend: Backend) -> int:
    """Compute the prefix; returns its tokens. Raises what the backend raises."""
    machine = Machine(cast(Backend, _Silent(backend)))
    ids = [_begun(program, machine, argument) for argument in _ARGUMENTS]
    prefix = ids[0][: common_prefix(ids)]
    if prefix:
        compute_prefix(backend, prefix)
    return len(prefix)


def _begun(program: Program[Any], machine: Machine, argument: str) -> list[int]:
    state = program.start_state(program.settings({}), machine)
    with contextlib.suppress(Exception):  # whatever the program makes of such arguments
        given = dict.fromkeys(program.arg_names, argument)
        program.call_body(state, {**given, **program._bound})
    state.session.wait()
    content = state._interpreter.content
    return content.ids()


__all__ = ["cache_prefix"]

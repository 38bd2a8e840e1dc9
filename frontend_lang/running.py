"""Running a program's function: in this thread, or on the loop of whoever awaits it.

An `async def` program that is run from a thread gets a loop of its own there. Awaited (`arun`), it
runs on the caller's loop, and a plain function in a thread beside it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidRequestError, ProgramError
from .async_state import AsyncState, idle
from .clock import clock_of
from .driver import in_thread
from .session import Session
from .state import ProgramState
from .where import caller


def call_here(
    body: Callable[..., Any], state: ProgramState, args: list[Any], kwargs: Mapping[str, Any]
) -> Any:
    """What the function returns, run to its end in this thread."""
    if not inspect.iscoroutinefunction(body):
        with clock_of(state.session).running():
            return checked(body(state, *args, **kwargs))
    refuse_inside_a_loop()
    return asyncio.run(call_async(body, state, args, kwargs))


def checked(returned: Any) -> Any:
    """What a plain function returned. Raises ProgramError where that is its work, still undone."""
    if inspect.iscoroutine(returned) or inspect.isgenerator(returned):
        returned.close()
        raise ProgramError(
            f"the program returned a {type(returned).__name__}: it has not run",
            hint="A wrapper around an `async def` must be one itself; a program cannot yield.",
        )
    return returned


async def call_async(
    body: Callable[..., Any], state: ProgramState, args: list[Any], kwargs: Mapping[str, Any]
) -> Any:
    """What an `async def` program's function returns."""
    with clock_of(state.session).running():
        return await body(AsyncState(state), *args, **kwargs)


def refuse_inside_a_loop() -> None:
    """Raise where an `async def` program is run by a thread whose loop waits for it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ProgramError(
        "an `async def` program is run inside a running event loop",
        where=str(caller()),
        hint="Write await program.arun(...).",
    )


async def execute_async(
    body: Callable[..., Any], state: ProgramState, args: list[Any], kwargs: Mapping[str, Any]
) -> None:
    """Run the function on this loop (a plain one in a thread beside it) and wait for its calls;
    cancel them if it raises or its task is cancelled."""
    session = state.session
    try:
        if inspect.iscoroutinefunction(body):
            state.ret_value = await call_async(body, state, args, kwargs)
        else:
            state.ret_value = await in_thread(call_here, body, state, args, kwargs)
        await _rest(session)
    except BaseException as error:
        cancelled = isinstance(error, asyncio.CancelledError)
        session.cancel("its task was cancelled" if cancelled else "the program raised")
        await _rest(session)  # a call that ends later would hold what nobody releases
        raise
    finally:
        session.holds.close()
    state.finish()


async def _rest(session: Session) -> None:
    for state in session.states():
        await idle(state)
    session.wait()


def refuse_to_stream(options: Mapping[str, Any]) -> None:
    """Raise where a run that is awaited is asked to stream."""
    if options.get("stream"):
        raise InvalidRequestError(
            "arun does not stream",
            where="stream",
            hint="Use run(stream=True), and text_async_iter() of its state.",
        )


def refuse_in_a_trace(name: str) -> None:
    """Raise where a program's run would be a part of another one's compilation."""
    from .compiler.tracing import current

    tracing = current.get()
    if tracing is not None:
        tracing.cannot(
            f"a run of {name} inside a program",
            caller(),
            f"Go on in the same state with {name}.body(s, ...), or run it in a function with "
            "@esp.opaque.",
        )

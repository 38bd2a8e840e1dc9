"""What a state asks of the engine for a while: that its prefix stays in the cache."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import (
    EngineError,
    InvalidRequestError,
    NotSupportedError,
    RequestCancelledError,
)
from ..types import Result, SamplingParams
from .backends.base import Backend, Call, check_result
from .clock import waits
from .driver import driver, refuse_to_wait_here
from .where import Where

if TYPE_CHECKING:
    from .session import Session
    from .state import ProgramState


class PrefixPin:
    """A prefix that is evicted last: until `release()`, the end of the `with`, its time, or where
    it has none the run's end. tokens: how many it has."""

    def __init__(self, backend: Backend, number: int, tokens: int) -> None:
        self.tokens = tokens
        self._backend = backend
        self._number: int | None = number

    def release(self) -> None:
        """Let it be evicted like any other; again does nothing."""
        number, self._number = self._number, None
        if number is not None:
            with contextlib.suppress(EngineError):  # an engine that is gone holds nothing
                self._backend.unpin(number)

    def __enter__(self) -> PrefixPin:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def pin_state(state: ProgramState, ttl: float | None, where: Where) -> PrefixPin:
    """Pin what the state has said so far. Computes what of it is not cached yet."""
    session = state.session
    if session.deterministic:
        raise NotSupportedError(
            "a deterministic run pins no prefix",
            where=str(where),
            hint="Its states hold what they have said anyway, while they live.",
        )
    ids = state.token_ids()
    if not ids:
        raise InvalidRequestError(
            expected="something said before the pin", got="an empty state", where=str(where)
        )
    compute_prefix(session.backend, ids, session.namespace, session.priority, session)
    pin = PrefixPin(session.backend, session.backend.pin(ids, session.namespace, ttl), len(ids))
    if ttl is None:
        session.holds.keep(pin)
    return pin


def compute_prefix(
    backend: Backend,
    ids: list[int],
    namespace: str = "",
    priority: int = 0,
    session: Session | None = None,
) -> None:
    """Have these tokens in the cache. Waits; raises what the backend raises. session: of a run
    that cancels it, and whose deadline holds."""
    refuse_to_wait_here()
    done: Future[Result] = Future()
    call = Call(
        input_ids=ids,
        params=SamplingParams(max_tokens=1),
        namespace=namespace,
        priority=priority,
        deadline=None if session is None else session.time_left(),
    )

    async def run() -> None:
        try:
            done.set_result(await backend.generate(call))
        except asyncio.CancelledError:
            reason = None if session is None else session.cancelled
            error = RequestCancelledError(f"the program was cancelled: {reason}")
            done.set_exception(error)
        except BaseException as error:
            done.set_exception(error)

    def start() -> None:
        task = driver().start(run())
        if session is not None:
            session.on_cancel(done, task.cancel)

    driver().call(start)
    with waits(done.done):
        result = done.result()
    check_result(result)

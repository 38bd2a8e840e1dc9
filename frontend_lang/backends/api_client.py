"""The way to a remote API: the package's client, asking again, giving up in time, counting."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ...errors import (
    APITimeoutError,
    AuthenticationError,
    DeadlineError,
    InvalidRequestError,
    NotSupportedError,
)
from ..clock import Clock
from ..driver import driver
from . import api_errors
from .api_parts import Usage
from .base import Call

T = TypeVar("T")


class APIClient:
    """See the module's docstring.

    package, kind, options: the package's class of clients, and what it is made with; one is made
    for each event loop, to which its connections belong. timeout: seconds for each answer, or piece
    of one. retries: how often a request is sent again.
    """

    def __init__(
        self,
        package: str,
        kind: str,
        options: dict[str, Any],
        *,
        timeout: float,
        retries: int,
        clock: Clock,
    ) -> None:
        _check("timeout", timeout, int | float, lambda: timeout > 0, "seconds > 0")
        _check("retries", retries, int, lambda: retries >= 0, "a number >= 0")
        self.api = f"{package}'s API"
        self.timeout = timeout
        self.retries = retries
        self.clock = clock
        self.usage = Usage()
        self._package, self._kind, self._options = package, kind, options
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._first: Any = self._connect()  # what its options cannot be is told here
        key = getattr(self._first, "api_key", None)
        self.secrets = (key,) if isinstance(key, str) and key else ()
        self.base_url = str(self._first.base_url)

    def here(self) -> Any:
        """The package's client for the running loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            found = self._clients.get(loop)
            if found is None:
                found = self._clients[loop] = self._first or self._connect()
                self._first = None
            return found

    def close(self) -> None:
        """Close its connections."""
        with self._lock:
            clients = list(self._clients.items())
            self._clients.clear()
        for loop, client in clients:
            if loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(client.close(), loop)
                if not driver().is_here():
                    closing.result(timeout=10)

    def count(self, usage: Usage) -> None:
        """Add to what the backend has spent."""
        with self._lock:
            self.usage.add(usage)

    async def attempts(
        self, send: Callable[[], Awaitable[T]], call: Call, ends: float | None
    ) -> tuple[T, int]:
        """What `send` gives, asked again where that may help, and how many requests it took. ends:
        by the clock. Raises what api_errors.py makes of the last failure, DeadlineError and
        APITimeoutError; the requests of a failure are counted."""
        attempt = 1
        while True:
            try:
                return await self.in_time(send(), call, ends), attempt
            except Exception as cause:  # of the package, or of its connection
                error = api_errors.typed(cause, self.api, call.where)
                wait = api_errors.back_off(attempt, error, call.params.seed)
                late = ends is not None and self.clock.now() + wait >= ends
                again = attempt <= self.retries and wait <= api_errors.LONGEST_WAIT and not late
                if not again or not api_errors.worth_repeating(error, cause):
                    self.count(Usage(requests=attempt))
                    if error is cause:
                        raise
                    raise error from cause
            await self.clock.sleep(wait)
            attempt += 1

    async def in_time(self, awaitable: Awaitable[T], call: Call, ends: float | None) -> T:
        """What it gives. Raises DeadlineError where the deadline passes first, APITimeoutError
        where the API takes too long."""
        left = None if ends is None else ends - self.clock.now()
        seconds = self.timeout if left is None else min(self.timeout, left)
        try:
            async with self.clock.timeout(seconds):
                with self.clock.busy():
                    return await awaitable
        except TimeoutError:
            where = call.where or None
            if left is not None and left <= self.timeout:
                raise DeadlineError("the deadline passed before an answer", where=where) from None
            raise APITimeoutError(
                f"{self.api} did not answer within {self.timeout:g} s",
                where=where,
                hint="Give the backend a longer timeout.",
            ) from None

    def _connect(self) -> Any:
        try:
            module = importlib.import_module(self._package)
        except ImportError as error:
            raise NotSupportedError(
                f"the package {self._package} cannot be imported: {error}",
                where="backend",
                hint="pip install 'espalier[apis]'",
            ) from None
        try:
            return getattr(module, self._kind)(max_retries=0, timeout=None, **self._options)
        except TypeError as error:
            raise InvalidRequestError(
                f"{self._kind} of {self._package} cannot be made so: {error}", where="backend"
            ) from None
        except Exception as error:  # a key that is missing
            raise AuthenticationError(str(error), where="backend") from error


def _check(name: str, value: object, kind: Any, fits: Callable[[], bool], expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not fits():
        raise InvalidRequestError(expected=expected, got=repr(value), where=name)

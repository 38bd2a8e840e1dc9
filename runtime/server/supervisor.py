"""Keeps an engine: starts it, tells whether it is well, and starts another one when it died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from ...errors import EspalierError
from ..client import ProcessLink
from ..engine import Engine
from .failures import unavailable
from .settings import ServerSettings
from .threads import in_thread

_log = logging.getLogger("espalier.server")
State = Literal["ready", "restarting", "failed", "closed"]
_T = TypeVar("_T")
_PAUSE = 1.0  # seconds before a start that failed is tried again; doubled each time
_PATIENCE = 1.0  # seconds that whoever asks for counters waits for the engine
_DUMP_SECONDS = 1.0  # that a stuck engine gets to write its stack


class Supervisor:
    """See the module's docstring. make: starts an engine, and blocks meanwhile."""

    def __init__(self, make: Callable[[], Engine], settings: ServerSettings) -> None:
        self._make = make
        self._settings = settings
        self._engine = make()
        self.tokenizer = self._engine.tokenizer
        self.info = self._engine.info  # the same after each restart
        self.state: State = "ready"
        self.restarts = 0
        self._deaths: deque[float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._counters: Mapping[str, Any] = {}
        self._counting: asyncio.Future[dict[str, Any]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.when_failed: Callable[[], None] = lambda: None

    @property
    def engine(self) -> Engine:
        """The engine. Raises HTTPError (503) while there is none."""
        if self.state == "ready":
            return self._engine
        if self.state == "restarting":
            raise unavailable("the engine died and is being started again", "engine_restarting")
        raise unavailable("the engine is gone", "engine_dead")

    def watch(self) -> None:
        """On the event loop: notice the engine's death, and that it is stuck."""
        self._loop = asyncio.get_running_loop()
        self._listen(self._engine)
        if self._settings.watchdog and not self._engine.link.inline:
            self._spawn(self._look_after())

    async def counters(self) -> Mapping[str, Any]:
        """The engine's counters, as it told them last where it does not answer now; none before it
        ever did."""
        if self.state == "ready" and self._engine.link.inline:
            self._counters = self._engine.stats()
        elif self.state == "ready":
            if self._counting is None or self._counting.done():
                self._counting = asyncio.ensure_future(_beside(self._engine.stats))
            done, _ = await asyncio.wait({self._counting}, timeout=_PATIENCE)
            for told in done:
                if told.exception() is None:
                    self._counters = told.result()
        return self._counters

    async def close(self) -> None:
        """End the engine and all that watches it."""
        self.state = "closed"
        for task in list(self._tasks):
            task.cancel()
        await _beside(self._engine.shutdown)

    def kill(self) -> None:
        """End the engine at once, whatever it does."""
        link = self._engine.link
        if isinstance(link, ProcessLink):
            with contextlib.suppress(ProcessLookupError):
                os.kill(link.pid, signal.SIGKILL)

    # -- death -------------------------------------------------------------------------------------

    def _listen(self, engine: Engine) -> None:
        loop = self._loop
        assert loop is not None

        def tell(error: EspalierError) -> None:  # from the thread that reads the engine's answers
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server is over
                loop.call_soon_threadsafe(self._died, engine, error)

        engine.when_dead(tell)

    def _died(self, engine: Engine, error: EspalierError) -> None:
        if self.state in ("closed", "failed") or engine is not self._engine:
            return
        _log.error("the engine died (%s)", error.got or type(error).__name__)
        if self._may_live_again():
            self.state = "restarting"
            self._spawn(self._restart(engine))

    def _may_live_again(self) -> bool:
        """Count one more death; whether there are not too many yet, which end the server."""
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - self._settings.restart_window:
            self._deaths.popleft()
        if len(self._deaths) <= self._settings.max_restarts:
            return True
        _log.error("it died %d times: given up", len(self._deaths))
        self.state = "failed"
        self.when_failed()
        return False

    async def _restart(self, dead: Engine) -> None:
        with contextlib.suppress(Exception):
            await _beside(dead.shutdown)
        pause = _PAUSE
        while True:
            try:
                engine = await _beside(self._make)
                break
            except Exception as error:  # of any kind: one that is missed leaves it so for ever
                _log.error("the engine cannot be started: %s", type(error).__name__)
                if not self._may_live_again():
                    return
            await asyncio.sleep(pause)
            pause *= 2
        self._engine, self.state = engine, "ready"
        self.restarts += 1
        _log.warning("the engine is back (restart %d)", self.restarts)
        self._listen(engine)

    # -- the watchdog ------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        """The engine must answer: at once when it idles, else between two steps."""
        limit = self._settings.watchdog
        while True:
            await asyncio.sleep(limit / 4)
            if self.state != "ready":
                continue
            engine = self._engine
            asked = asyncio.ensure_future(_beside(engine.stats))
            done, _ = await asyncio.wait({asked}, timeout=limit)
            if not done:
                await self._end_stuck(engine)
            with contextlib.suppress(EspalierError):
                await asked

    async def _end_stuck(self, engine: Engine) -> None:
        link = engine.link
        assert isinstance(link, ProcessLink)
        _log.error("no answer of the engine for %.0f s: it is ended", self._settings.watchdog)
        with contextlib.suppress(ProcessLookupError):
            os.kill(link.pid, signal.SIGUSR1)  # it writes its stack (engine_process.py)
            await asyncio.sleep(_DUMP_SECONDS)
        if engine is self._engine:
            self.kill()

    def _spawn(self, job: object) -> None:
        assert asyncio.iscoroutine(job)
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _beside(work: Callable[[], _T]) -> _T:
    return await asyncio.wrap_future(in_thread(work, "espalier-supervisor"))

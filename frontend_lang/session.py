"""One run: its backend, defaults, seed and budget, and all the states that it brought forth."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..errors import DeadlineError, EspalierError
from . import seeds
from .backends.base import Backend
from .clock import Clock, clock_of
from .content import Content
from .driver import driver
from .holds import Holds
from .records import Node
from .roles import ChatFormat
from .tokens import TextEncoder

if TYPE_CHECKING:
    from .interpreter import Interpreter


_LOOKED_THROUGH = 64  # so many states, and those that are gone are forgotten


class Machine:
    """A backend with its tokenizer's encoder and its probed chat template, shared by a batch."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.encoder = TextEncoder(backend.tokenizer)
        self.chat = ChatFormat(backend.tokenizer)


@dataclass(eq=False)
class Session:
    """See the module's docstring.

    defaults: `SamplingParams` fields of the run. deadline: seconds for the whole run, from its
    start. stream: calls deliver their text in pieces. synchronous: each call is done before the
    function goes on. text_in_logprobs: of calls that do not say it themselves. spec_tokens: how far
    a gen may write ahead of its program (ahead.py); None: not at all.
    """

    machine: Machine
    defaults: Mapping[str, Any] = field(default_factory=dict)
    seed: int = field(default_factory=seeds.draw)
    namespace: str = ""
    priority: int = 0
    deadline: float | None = None
    stream: bool = False
    synchronous: bool = False
    text_in_logprobs: bool = False
    spec_tokens: int | None = None
    program: str = ""
    root: Node = field(default_factory=Node)

    def __post_init__(self) -> None:
        self.clock: Clock = clock_of(self.backend)
        self.started = self.clock.now()
        self.ended: float | None = None
        self.cancelled: str | None = None
        self.finished = not self.stream
        self.holds = Holds(self.backend)
        self._progress = threading.Condition() if self.stream else None
        self._lock = threading.Lock()
        self._interpreters: list[ref[Interpreter]] = []  # a busy one is held by its task
        self._many = _LOOKED_THROUGH
        self._beside: dict[Future[Any], Callable[[], object]] = {}

    @property
    def backend(self) -> Backend:
        return self.machine.backend

    @property
    def deterministic(self) -> bool:
        """Whether all that the run asks is to be the same to the last bit."""
        return bool(self.defaults.get("deterministic", False))

    def elapsed(self) -> float:
        """Seconds since the run's start."""
        return self.clock.now() - self.started

    def content(self) -> Content:
        """An empty state's content."""
        return Content(self.machine.encoder, self.machine.chat)

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        if self.deadline is None:
            return None
        return self.deadline - self.elapsed()

    def time_left(self) -> float | None:
        """`remaining` for a call that begins now. Raises DeadlineError where nothing does."""
        seconds = self.remaining()
        if seconds is not None and seconds <= 0:
            raise DeadlineError("the run's deadline had passed before this call")
        return seconds

    def add(self, interpreter: Interpreter) -> None:
        """A state of this run, to be waited for or cancelled with it."""
        with self._lock:
            self._interpreters.append(ref(interpreter))
            if len(self._interpreters) > self._many:
                self._interpreters = [known for known in self._interpreters if known() is not None]
                self._many = _LOOKED_THROUGH + 2 * len(self._interpreters)

    # -- a streaming run's function, which runs in a thread of its own -----------------------------

    def said(self, change: Callable[[], None]) -> None:
        """Do what readers of other threads may be waiting for."""
        if self._progress is None:
            change()
            return
        with self._progress:
            change()
            self._progress.notify_all()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Until `ready()` holds or the function has ended. Not for the function itself and the
        threads that it starts, for which the function might wait in turn."""
        if self._progress is not None:
            self.clock.wait(self._progress, lambda: self.finished or ready(), None)

    def finish(self) -> None:
        """The function has ended, and all its calls are done."""

        def change() -> None:
            self.finished = True

        self.said(change)

    # -- all states --------------------------------------------------------------------------------

    def wait(self) -> None:
        """Until every state of the run has nothing left to do."""
        for interpreter in self.states():
            interpreter.wait()
        self.ended = self.clock.now()

    def close(self) -> None:
        """All its states are done, and nobody goes on from them."""
        self.ended = self.clock.now()
        self.holds.close()

    def close_feeds(self, failure: EspalierError | None) -> None:
        """End every state's stream of text, in the state's own error or the function's."""
        for interpreter in self.states():
            if interpreter.feed is not None:
                interpreter.feed.close(interpreter.error or failure)

    def on_cancel(self, work: Future[Any], cancel: Callable[[], object]) -> None:
        """Cancel this with the run, on the driver's loop, where this is called. work: when it is
        done there is nothing to cancel."""
        self._beside[work] = cancel
        work.add_done_callback(lambda _: self._beside.pop(work, None))
        if self.cancelled is not None:
            cancel()

    def cancel(self, reason: str) -> None:
        """Cancel every state's calls, also those that are still to come."""
        self.cancelled = reason
        for cancel in list(self._beside.values()):
            driver().call(cancel)
        for interpreter in self.states():
            interpreter.cancel(reason)

    def cancel_branches(self, reason: str, paths: Collection[tuple[int, ...]]) -> None:
        """Cancel what the branches of one fork run, at these paths, and all forked from them."""
        length = len(next(iter(paths)))
        for interpreter in self.states():
            if interpreter.node.path[:length] in paths:
                interpreter.cancel(reason)

    def states(self) -> list[Interpreter]:
        """Every state of the run that lives."""
        with self._lock:
            known = self._interpreters[:]
        return [interpreter for known in known if (interpreter := known()) is not None]

"""`run_batch` of a compiled program: as many runs at a time as the cache has room for.

What a run needs of the cache is known before it begins (needs.py). Programs that would drive out
one another's prefixes wait until there is room, in an order in which shared prefixes meet; so a
prefix is computed once also where the cache holds a part of the batch only. Runs need no threads:
they all live on the driver's loop, and constants are encoded once for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...errors import EspalierError, InvalidRequestError, ProgramError
from .. import seeds
from ..backends.default import resolve
from ..batch import progress, threads
from ..driver import driver
from ..session import Machine, Session
from ..state import ProgramState
from .memo import RememberingEncoder
from .needs import Needs
from .prefix import PrefixHold

if TYPE_CHECKING:
    from .program import CompiledProgram

_WINDOW = 4
_STOPPED = "the batch was stopped"


class Room:
    """How many runs may be under way: `most` at a time, and together within `tokens` of cache.

    Those that wait go in the order they came; one run always may.
    """

    def __init__(self, most: int, tokens: int | None) -> None:
        self._most = most
        self._tokens = tokens
        self._used = self._running = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, need: int) -> None:
        """Until there is room for so many tokens more."""
        if not self._waiting and self._fits(need):
            self._take(need)
            return
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((need, ready))
        await ready

    def leave(self, need: int) -> None:
        """A run of this need has ended."""
        self._used -= need
        self._running -= 1
        while self._waiting and self._fits(self._waiting[0][0]):
            need, ready = self._waiting.popleft()
            if not ready.done():
                self._take(need)
                ready.set_result(None)

    def _fits(self, need: int) -> bool:
        if not self._running:
            return True
        enough = self._tokens is None or self._used + need <= self._tokens
        return enough and self._running < self._most

    def _take(self, need: int) -> None:
        self._used += need
        self._running += 1


class Batch:
    """Runs of one compiled program."""

    def __init__(
        self, compiled: CompiledProgram, options: Mapping[str, Any], num_threads: int | str
    ) -> None:
        self._compiled = compiled
        self._program = compiled.program
        self._settings = self._program.settings(options)
        backend = resolve(options.get("backend"))
        self._machine = Machine(backend)
        self._machine.encoder = RememberingEncoder(backend.tokenizer)
        self._prefix = PrefixHold(compiled.ir, self._machine)
        self._limit = threads(num_threads)
        bounded = num_threads == "auto"
        capacity = backend.info().get("capacity") if bounded else None
        free = None if capacity is None else capacity - self._prefix.tokens
        self._room = Room(self._limit, free)
        self._needs: Needs | None = None
        if capacity is not None:
            needs = Needs(
                compiled.ir, self._machine, self._settings["defaults"], self._prefix.tokens
            )
            self._needs = needs if needs.known else None
        seed = options.get("seed")
        self._seed = seeds.draw() if seed is None else seeds.checked(seed)
        self._running: set[Session] = set()
        self._stopped = False

    # -- from the caller's thread ------------------------------------------------------------------

    def at_once(self, entries: Sequence[Any], order: str, bar: bool) -> Iterator[ProgramState]:
        """All entries, started in an order of our own."""
        started: Sequence[int] = range(len(entries))
        if order == "prefix":
            keys = [self._sort_key(entry) for entry in entries]
            started = sorted(started, key=keys.__getitem__)
        with ExitStack() as stack:
            advance = progress(stack, len(entries), bar)
            futures = {at: self._submit(at, entries[at]) for at in started}
            for future in futures.values():
                future.add_done_callback(advance)
            try:
                return iter([futures[at].result() for at in range(len(entries))])
            except BaseException:
                self._stop(futures.values())
                raise
            finally:
                self._prefix.close()

    def lazily(self, entries: Iterable[Any], bar: bool) -> Iterator[ProgramState]:
        """Entries as they are asked for, a bounded number ahead."""
        total = len(entries) if isinstance(entries, Sequence) else None
        with ExitStack() as stack:
            advance = progress(stack, total, bar)
            running: deque[Future[ProgramState]] = deque()
            numbered = enumerate(entries)
            try:
                while True:
                    for number, entry in islice(numbered, self._limit * _WINDOW - len(running)):
                        running.append(self._submit(number, entry))
                        running[-1].add_done_callback(advance)
                    if not running:
                        return
                    yield running.popleft().result()
            finally:
                self._stop(running)
                self._prefix.close()

    def _submit(self, number: int, entry: Any) -> Future[ProgramState]:
        return asyncio.run_coroutine_threadsafe(self._one(number, entry), driver().loop)

    def _stop(self, futures: Iterable[Future[ProgramState]]) -> None:
        """Nobody waits for the rest any more."""
        self._stopped = True
        for session in list(self._running):
            session.cancel(_STOPPED)
        for future in futures:
            future.exception()

    def _sort_key(self, entry: Any) -> list[str]:
        """The arguments in the program's order, as text."""
        if isinstance(entry, Mapping):
            entry = [entry.get(name) for name in self._compiled.arg_names]
        return [_told(value) for value in entry] if isinstance(entry, Sequence) else [_told(entry)]

    # -- on the driver's loop ----------------------------------------------------------------------

    async def _one(self, number: int, entry: Any) -> ProgramState:
        """One run; its failure is its state's."""
        try:
            arguments = self._arguments(entry)
        except EspalierError as error:
            state = self._started(number)
            failure = ProgramError(f"batch[{number}]: {error}", where=str(self._program.where))
            failure.__cause__ = error
            state.finish(failure)
            return state
        need = 0 if self._needs is None else self._needs.of(arguments)
        await self._room.enter(need)
        state = self._started(number)  # its deadline and its times begin here
        self._running.add(state.session)
        if self._stopped:
            state.session.cancel(_STOPPED)
        try:
            grown = await self._compiled.perform(state, arguments)
            if self._needs is not None:
                self._needs.learn(arguments, grown)
        except Exception as error:  # one fails alone; run_batch's caller finds it in error()
            state.finish(self._program.failure(error))
        finally:
            self._running.discard(state.session)
            self._room.leave(need)
        return state

    def _started(self, number: int) -> ProgramState:
        seed = seeds.derive(self._seed, (), number)
        state = self._program.start_state(self._settings, self._machine, seed)
        self._prefix.lend(state.session.holds)
        return state

    def _arguments(self, entry: Any) -> dict[str, Any]:
        if isinstance(entry, Mapping):
            return self._compiled.bind((), entry)
        if isinstance(entry, list | tuple):
            return self._compiled.bind(entry, {})
        raise InvalidRequestError(expected="a dict or a tuple of arguments", got=repr(entry)[:80])


def _told(value: Any) -> str:
    """The value as text; what cannot be told sorts first."""
    try:
        return repr(value)
    except Exception:  # its run says so
        return ""

"""`run_batch`: many runs of one program, bounded, in order, each failing alone."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequestError, ProgramError
from . import seeds
from .backends.default import resolve
from .clock import clock_of, waits
from .options import run_seed
from .session import Machine, Session
from .state import ProgramState

if TYPE_CHECKING:
    from .function import Program

AUTO_THREADS = 256
_WINDOW = 4
_STOPPED = "the batch was stopped"


def run_batch(
    program: Program[...],
    batch: Iterable[Any],
    options: Mapping[str, Any],
    *,
    progress_bar: bool,
    num_threads: int | str,
    order: str,
    lazy: bool,
) -> Iterator[ProgramState]:
    """The states of the batch's runs, in the batch's order; checks its arguments at once."""
    most = threads(num_threads)
    check_batch(batch, order, options)
    runner = _Runner(program, options, most)
    entries = iter(batch)
    total = len(batch) if isinstance(batch, Sequence) else None
    if lazy:
        return runner.lazily(entries, total, progress_bar)
    return runner.at_once(list(entries), order, progress_bar)


def check_batch(batch: object, order: object, options: Mapping[str, Any]) -> None:
    """Raise InvalidRequestError for what is no batch, or no order of one."""
    if order not in ("prefix", "given"):
        raise InvalidRequestError(
            expected="'prefix' or 'given'", got=repr(order), where="run_batch, order"
        )
    if isinstance(batch, str | Mapping) or not isinstance(batch, Iterable):
        raise InvalidRequestError(
            expected="a list (or iterator) of dicts or tuples of arguments",
            got=repr(batch)[:80],
            where="run_batch, batch",
        )
    if options.get("stream"):
        raise InvalidRequestError(
            "run_batch does not stream", where="stream", hint="Use run(stream=True)."
        )


class _Runner:
    def __init__(self, program: Program[...], options: Mapping[str, Any], threads: int) -> None:
        self.program = program
        self.threads = threads
        self.settings = program.settings(options)
        self.machine = Machine(resolve(options.get("backend")))
        self.clock = clock_of(self.machine.backend)
        seed = run_seed(options)
        self.seed = seeds.draw() if seed is None else seeds.checked(seed)
        self._lock = threading.Lock()
        self._running: set[Session] = set()
        self._begun = self._done = 0
        self._stopped = False

    def one(self, number: int, entry: Any) -> ProgramState:
        """One run; its failure is its state's."""
        with self.clock.running():
            with self._lock:
                self._begun += 1
            try:
                return self._run(number, entry)
            finally:
                with self._lock:
                    self._done += 1

    def _run(self, number: int, entry: Any) -> ProgramState:
        seed = seeds.derive(self.seed, (), number)
        state = self.program.start_state(self.settings, self.machine, seed)
        try:
            arguments = self._arguments(entry)
        except InvalidRequestError as error:
            failure = ProgramError(f"batch[{number}]: {error}", where=str(self.program.where))
            failure.__cause__ = error
            state.finish(failure)
            return state
        with self._lock:
            self._running.add(state.session)
            if self._stopped:  # it left the queue before `stop` knew of it
                state.session.cancel(_STOPPED)
        try:
            self.program.execute(state, arguments)
        except (Exception, asyncio.CancelledError, SystemExit) as error:
            # one fails alone; run_batch's caller finds it in error()
            state.finish(self.program.failure(error))
        finally:
            with self._lock:
                self._running.discard(state.session)
        return state

    def stop(self, pool: ThreadPoolExecutor) -> None:
        """Nobody waits for the rest any more."""
        pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for session in running:
            session.cancel(_STOPPED)

    def _arguments(self, entry: Any) -> dict[str, Any]:
        if isinstance(entry, Mapping):
            return self.program.bind_arguments((), entry)
        if isinstance(entry, list | tuple):
            return self.program.bind_arguments(entry, {})
        raise InvalidRequestError(expected="a dict or a tuple of arguments", got=repr(entry)[:80])

    def _sort_key(self, entry: Any) -> list[str]:
        """The arguments in the program's order, as text; those that have none come first."""
        try:
            if isinstance(entry, Mapping):
                entry = [entry.get(name) for name in self.program.arg_names]
            values = entry if isinstance(entry, Sequence) else [entry]
            return [repr(value) for value in values]
        except Exception:  # theirs: an order is no reason to fail
            return []

    def at_once(self, entries: list[Any], order: str, progress_bar: bool) -> Iterator[ProgramState]:
        """All entries, started in an order of our own."""
        if not entries:
            return iter(())
        started: Sequence[int] = range(len(entries))
        if order == "prefix":
            keys = [self._sort_key(entry) for entry in entries]
            started = sorted(started, key=keys.__getitem__)
        with ExitStack() as stack:
            pool = stack.enter_context(
                ThreadPoolExecutor(min(self.threads, len(entries)), "espalier-batch")
            )
            advance = progress(stack, len(entries), progress_bar)
            futures: dict[int, Future[ProgramState]] = {}
            stack.enter_context(self.clock.running())
            for at in started:
                futures[at] = pool.submit(self.one, at, entries[at])
                futures[at].add_done_callback(advance)
            try:
                with waits(lambda: self._begun < min(len(entries), self._done + self.threads)):
                    states = [futures[at].result() for at in range(len(entries))]
            except BaseException:
                self.stop(pool)
                raise
        return iter(states)

    def lazily(
        self, entries: Iterator[Any], total: int | None, progress_bar: bool
    ) -> Iterator[ProgramState]:
        """Entries as they are asked for, a bounded number ahead."""
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(self.threads, "espalier-batch"))
            advance = progress(stack, total, progress_bar)
            running: deque[Future[ProgramState]] = deque()
            numbered = enumerate(entries)
            failure: Exception | None = None
            try:
                while True:
                    try:
                        for at, entry in islice(numbered, self.threads * _WINDOW - len(running)):
                            running.append(pool.submit(self.one, at, entry))
                            running[-1].add_done_callback(advance)
                    except Exception as error:  # the iterator's: what it gave is answered first
                        failure, numbered = error, enumerate(())
                    if not running:
                        break
                    yield running.popleft().result()
            finally:
                self.stop(pool)
        if failure is not None:
            raise failure


def progress(stack: ExitStack, total: int | None, wanted: bool) -> Any:
    """A bar of so many programs, as a function to call for each that is done."""
    if not wanted:
        return lambda _done: None
    from tqdm import tqdm

    bar = stack.enter_context(tqdm(total=total, unit="program"))
    return lambda _done: bar.update(1)


def threads(num_threads: int | str) -> int:
    """How many runs go on at a time. Raises InvalidRequestError."""
    if num_threads == "auto":
        return AUTO_THREADS
    if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1:
        raise InvalidRequestError(
            expected='"auto" or a number >= 1', got=repr(num_threads), where="num_threads"
        )
    return num_threads

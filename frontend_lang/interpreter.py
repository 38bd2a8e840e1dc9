"""Runs the ops of one state, in order; the states of a program run at once.

An op that needs no waiting is done at once in the caller's thread if nothing is before it in the
queue; else it waits its turn, and the driver's loop works the queue off. A failed op stops its
state: what comes after is not reached, and says so.

Invariants (checked by `check_invariants()`)
- I1 An idle interpreter has an empty queue.
- I2 An idle interpreter has one record for each call it made, numbered in order.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..errors import EspalierError, InvariantError, ProgramError, RequestCancelledError
from ..types import Hold
from .ahead import Ahead
from .calls import run_gen, run_select
from .clock import waits
from .content import Content
from .driver import driver, refuse_to_wait_here
from .expr import Expr, Gen, RoleBegin, RoleEnd, ScopeBegin, ScopeEnd, Select, Text, describe
from .journal import Journal, since, text_of
from .records import Node
from .session import Session
from .variables import Feed, Variable
from .where import NOWHERE, Where


@dataclass(slots=True)
class Op:
    """One thing to do. label: what it is called, where the expression does not say it. variable:
    what it fills. action: for ops that are no expression. later: waits for what others give (in a
    failed state, too: its reads may fail the program) and gives the expression; None: the action
    stands."""

    label: str
    where: Where
    expr: Expr | None = None
    variable: Variable | None = None
    action: Callable[[], None] | None = None
    later: Callable[[], Awaitable[Expr | None]] | None = None
    always: bool = False
    priority: int | None = None

    @property
    def what(self) -> str:
        """Its name for errors."""
        return self.label if self.label or self.expr is None else describe(self.expr)

    @property
    def waits(self) -> bool:
        """Whether it must run on the driver's loop."""
        return self.later is not None or isinstance(self.expr, Gen | Select)


class Interpreter:
    """One state's queue of ops. `submit` may be called from any thread."""

    def __init__(self, session: Session, node: Node, content: Content) -> None:
        self.session = session
        self.node = node
        self.content = content
        self.error: EspalierError | None = None
        self.cause: str = ""
        self.calls = self.forks = 0
        self.priority = session.priority
        self.feed = Feed() if session.stream else None
        spec = session.spec_tokens
        self.ahead = None if spec is None else Ahead(spec, session.machine.encoder)
        self.origin = content.snapshot()
        self._lock = threading.Lock()
        self._queue: deque[Op] = deque()
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._scopes: dict[str, Journal | None] = {}
        self._cancelled: str | None = None
        self._calling = False
        self._awaited: Where | None = None  # where it was forked, until it begins
        self.hold_key = session.holds.key()
        self._above: tuple[Hold, ...] = ()
        session.add(self)

    @classmethod
    def waiting(cls, session: Session, node: Node, where: Where) -> Interpreter:
        """A branch's interpreter: it queues what it is given until `begin`."""
        made = cls(session, node, session.content())
        made._busy = True
        made._awaited = where
        return made

    def begin(self, content: Content, above: tuple[Hold, ...] = ()) -> None:
        """The branch's content is there: work off what has queued up. above: for `holds`. Where
        it was cancelled before, that is over already."""
        with self._lock:
            if self._awaited is None:
                return
            self._awaited = None
        self.content = content
        self._above = above
        self.origin = content.snapshot()
        if self.feed is not None and self.error is None:
            self.feed.put(content.text())
        self._release()

    # -- from the program's thread -----------------------------------------------------------------

    def submit(self, op: Op) -> None:
        """Do it, or queue it."""
        with self._lock:
            if self._busy or op.waits:
                self._queue.append(op)
                if self._busy:
                    return
                self._busy = True
                inline = False
            else:
                self._busy = inline = True
        if not inline:
            driver().call(self._start)
            return
        try:
            self._do(op)
        finally:  # an interrupt must not leave the queue locked
            self._release()

    def _release(self) -> None:
        """Let the loop go on with what has queued up meanwhile, if anything."""
        with self._lock:
            if not self._queue:
                self._busy = False
                return
        driver().call(self._start)

    def wait(self) -> None:
        """Until nothing is left to do."""
        with self._lock:
            if not self._busy:
                return
        refuse_to_wait_here()
        done = threading.Lock()
        done.acquire()
        self.when_idle(done.release)
        with waits(lambda: not done.locked()):
            done.acquire()

    def when_idle(self, action: Callable[[], None]) -> None:
        """Call `action` once nothing is left to do: here and now if so, else from the loop."""
        self.submit(Op("sync", NOWHERE, action=action, always=True))

    def idle(self) -> bool:
        """Whether nothing is left to do."""
        with self._lock:
            return not self._busy

    def cancel(self, reason: str) -> None:
        """Stop the running call and skip the rest."""

        def stop() -> None:
            if self._calling and self._task is not None:
                self._task.cancel()

        with self._lock:
            if not self._busy:
                return
            self._cancelled = self._cancelled or reason  # the first one is why
            awaited, self._awaited = self._awaited, None
        if awaited is None:
            driver().call(stop)
            return
        error = RequestCancelledError(f"the program was cancelled: {reason}")
        self.fail("a branch that had not begun", awaited, error)
        self._release()

    def stop(self, reason: str, where: Where) -> None:
        """Cancel what runs, and let nothing come after it: who would say more may not know yet."""
        with self._lock:
            self._cancelled = self._cancelled or reason  # of what comes now, too
        self.cancel(reason)

        def end() -> None:
            raise RequestCancelledError(f"the program was cancelled: {reason}")

        self.submit(Op("what comes after", where, action=end))

    # -- working the queue off ---------------------------------------------------------------------

    def _start(self) -> None:
        self._task = driver().start(self._pump())

    async def _pump(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._busy, self._task = False, None
                    return
                op = self._queue.popleft()
            if self.error is not None and op.waits and op.later is None:
                self._skip(op)
                continue
            try:
                if not op.waits:
                    self._do(op)
                    continue
                if self._cancelled is not None or self.session.cancelled is not None:
                    raise asyncio.CancelledError
                self._calling = True
                if op.later is not None:
                    op.expr = await op.later()
                if self.error is not None:
                    self._skip(op)
                elif isinstance(op.expr, Gen | Select):
                    await self._call(op)
                else:
                    self._apply(op)
            except asyncio.CancelledError:
                reason = self._cancelled or self.session.cancelled or driver().cancelled_by()
                self._fail(op, RequestCancelledError(f"the program was cancelled: {reason}"))
            except BaseException as error:  # every failure belongs to its variable and its reader
                self._fail(op, error)
            finally:
                self._calling = False

    def _do(self, op: Op) -> None:
        if self.error is not None and not op.always:
            self._skip(op)
            return
        try:
            self._apply(op)
        except Exception as error:  # every failure belongs to its variable and its reader
            self._fail(op, error)

    def _apply(self, op: Op) -> None:
        content = self.content
        before = content.journal
        match op.expr:
            case Text(text=text):
                content.add_text(text)
            case RoleBegin(role=role):
                content.begin_role(role)
            case RoleEnd(role=role):
                content.end_role(role)
            case ScopeBegin(name=name):
                self._scopes[name] = content.journal
            case ScopeEnd(name=name):
                text = text_of(since(content.journal, self._scopes.pop(name)))
                assert op.variable is not None
                op.variable.feed.put(text)
                op.variable.set(text, {"text": text})
            case None:
                assert op.action is not None
                op.action()
            case _:
                raise ProgramError(f"{op.what} cannot be run")
        if self.ahead is not None and content.journal is not before:
            if isinstance(op.expr, Text):
                self.ahead.said(op.expr.text)
            else:
                self.ahead.drop()
        self.node.lost_tokens = content.lost_tokens
        if self.feed is not None and content.journal is not before:
            self.feed.put(text_of(since(content.journal, before)))

    async def _call(self, op: Op) -> None:
        index = self.calls
        self.calls += 1
        assert op.variable is not None
        self.priority = self.session.priority if op.priority is None else op.priority
        if isinstance(op.expr, Gen):
            await run_gen(self, op.expr, op.variable, index)
        elif isinstance(op.expr, Select):
            await run_select(self, op.expr, op.variable, index)
            if self.ahead is not None:
                self.ahead.drop()

    def holds(self, tokens: int | None = None) -> tuple[Hold, ...]:
        """What its next call holds: the state's own tokens (the first `tokens`), and before its
        first call what the states above it had said, which nobody may have computed yet."""
        return (self.hold_key.hold(tokens), *self._above)

    def take_holds(self, tokens: int | None = None) -> tuple[Hold, ...]:
        """`holds`, for the call that is made now."""
        holds, self._above = self.holds(tokens), ()
        return self.session.holds.give(holds)

    # -- failing -----------------------------------------------------------------------------------

    def fail(self, what: str, where: Where, error: BaseException) -> EspalierError:
        """The state ends here: nothing that comes after is reached. Returns the readers' error."""
        wrapped = as_program_error(what, where, error)
        if self.error is None:
            self.error, self.cause = wrapped, what
            self.node.error = str(wrapped)
            if self.feed is not None:
                self.feed.close(wrapped)
        return wrapped

    def _fail(self, op: Op, error: BaseException) -> None:
        wrapped = self.fail(op.what, op.where, error)
        if op.variable is not None:
            op.variable.fail(wrapped)

    def fail_from(self, error: EspalierError, what: str) -> None:
        """Begin as failed: the state this one was forked from had failed before."""
        self.error, self.cause = error, what

    def _skip(self, op: Op) -> None:
        if op.variable is not None:
            skipped = ProgramError(
                f"{op.what} was not reached, because {self._why()}", where=str(op.where)
            )
            skipped.__cause__ = self.error
            op.variable.fail(skipped)

    def _why(self) -> str:
        """What failed here, and as much of its error as a message should have."""
        failed, told = f"{self.cause} failed", str(self.error)
        if not told.startswith(failed):
            told = f"{failed}: {told}"
        return told if len(told) <= _MOST_TOLD else told[:_MOST_TOLD] + "..."

    def check_invariants(self) -> None:
        """Raise InvariantError naming the one that broke."""
        with self._lock:
            if not self._busy and self._queue:
                raise InvariantError("I1: idle with a queue", got=str(len(self._queue)))
            numbers = [record.index for record in self.node.calls]
            if not self._busy and numbers != list(range(self.calls)):
                raise InvariantError(
                    "I2: records and calls differ", expected=str(self.calls), got=str(numbers)
                )
        self.content.check_invariants()


_MOST_TOLD = 500  # characters


def as_program_error(what: str, where: Where, error: BaseException) -> EspalierError:
    """The error a reader gets: the program's line, and the cause behind it."""
    if isinstance(error, ProgramError) and error.where is not None:
        return error
    if isinstance(error, ProgramError):  # a copy: it may be raised again, of another line
        placed = type(error)(error.message)
        vars(placed).update(vars(error), where=str(where))
        placed.__cause__ = error.__cause__
        return placed.with_traceback(error.__traceback__)
    message = str(error) or type(error).__name__
    if isinstance(error, EspalierError) and error.where == str(where):
        message = message.replace(f" (at {where})", "", 1)  # it is said once, at the end
    kind = "" if isinstance(error, EspalierError) else f"{type(error).__name__}: "
    wrapped = ProgramError(f"{what} failed: {kind}{message}", where=str(where))
    wrapped.__cause__ = error
    return wrapped


def op_of(expr: Expr, variable: Variable | None, priority: int | None = None) -> Op:
    """An expression's op."""
    return Op("", expr.where, expr, variable, priority=priority)

"""How a fork's branches end: all of them, the first few, or as many as there are in time.

Whoever joins watches the branches come to rest. What is not wanted any more is cancelled, with all
that it had forked itself, and has let go of its slots when `join` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import BranchError, EspalierError, InvalidRequestError
from .driver import refuse_to_wait_here
from .where import Where

if TYPE_CHECKING:
    from .state import ProgramState

JoinMode = Literal["gather_variable", "concate_and_append"]
OnBranchError: TypeAlias = "Literal['raise', 'keep', 'cancel'] | Sequence[Literal['raise', 'keep']]"


@dataclass(frozen=True)
class JoinPlan:
    """What `join` was asked for. keeps: branches whose failure is kept as a value. fail_fast: the
    first failure cancels the others."""

    mode: str
    keeps: frozenset[int]
    fail_fast: bool
    first: int | None
    timeout: float | None
    where: Where


def join_plan(
    size: int, mode: object, errors: Any, first: Any, timeout: Any, where: Where
) -> JoinPlan:
    """Raises InvalidRequestError for an argument that cannot be."""

    def expect(expected: str, name: str, got: object) -> InvalidRequestError:
        return InvalidRequestError(
            expected=f"{name} of join: {expected}", got=repr(got)[:80], where=str(where)
        )

    if mode not in ("gather_variable", "concate_and_append"):
        raise expect("'gather_variable' or 'concate_and_append'", "mode", mode)
    whole = isinstance(first, int) and not isinstance(first, bool)
    if first is not None and not (whole and 1 <= first <= size):
        raise expect(f"a number of branches in 1..{size}", "first", first)
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 < timeout < math.inf):
        raise expect("seconds > 0", "timeout", timeout)
    if isinstance(errors, str):
        if errors not in ("raise", "keep", "cancel"):
            raise expect("'raise', 'keep' or 'cancel', or one of them per branch", "errors", errors)
        keeps = frozenset(range(size) if errors == "keep" else ())
        return JoinPlan(str(mode), keeps, errors == "cancel", first, timeout, where)
    if not isinstance(errors, Sequence) or len(errors) != size:
        raise expect(f"a word, or a list of one per branch ({size})", "errors", errors)
    for entry in errors:
        if entry not in ("raise", "keep"):
            raise expect("'raise' or 'keep' per branch", "errors", entry)
    keeps = frozenset(branch for branch, entry in enumerate(errors) if entry == "keep")
    return JoinPlan(str(mode), keeps, False, first, timeout, where)


@dataclass(frozen=True)
class Ended:
    """How the branches ended. finished: those that came through and are wanted, in the order of
    ending; failed: the others' errors. A branch in neither was cancelled as not wanted any more."""

    finished: list[int]
    failed: dict[int, BranchError]


class Race:
    """Watches branches come to rest, from any thread."""

    def __init__(self, states: Sequence[ProgramState], plan: JoinPlan) -> None:
        self._states = states
        self.plan = plan
        self._clock = states[0].session.clock
        self._changed = threading.Condition()
        self._rested: list[int] = []
        self._sound: list[int] = []
        self._listener: Callable[[], None] | None = None
        for branch, state in enumerate(states):
            state.when_idle(functools.partial(self._rest, branch))

    def wait(self) -> Ended:
        """Until the join is decided and all branches are at rest."""
        if not self._decided():
            refuse_to_wait_here()
            self._clock.wait(self._changed, self._decided, self.plan.timeout)
        stopped = self._stop()
        if not self._all():
            refuse_to_wait_here()
            self._clock.wait(self._changed, self._all, None)
        return self._ended(stopped)

    async def wait_async(self) -> Ended:
        """`wait` without blocking the running loop; cancelling the task cancels the branches."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # closed: nobody waits any more
                loop.call_soon_threadsafe(changed.set)

        async def until(ready: Callable[[], bool]) -> None:
            while not ready():
                changed.clear()
                if not ready():
                    await changed.wait()

        self._listener = wake
        try:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(self.plan.timeout):
                    await until(self._decided)
        except asyncio.CancelledError:
            self._stop("its task was cancelled")
            raise
        stopped = self._stop()
        await until(self._all)
        return self._ended(stopped)

    # -- inside ------------------------------------------------------------------------------------

    def _rest(self, branch: int) -> None:
        state = self._states[branch]
        sound = state._interpreter.error is None and state.names.read_failure() is None
        with self._changed:
            self._rested.append(branch)
            if sound:
                self._sound.append(branch)
            self._changed.notify_all()
        if self._listener is not None:
            self._listener()

    def _all(self) -> bool:
        return len(self._rested) == len(self._states)

    def _decided(self) -> bool:
        """Whether nothing that a branch may still do changes the outcome."""
        failures = len(self._rested) - len(self._sound)
        if self.plan.fail_fast and failures:
            return True
        if self.plan.first is None:
            return self._all()
        return self._enough() or len(self._states) - failures < self.plan.first

    def _enough(self) -> bool:
        """Whether as many as were asked for came through."""
        return self.plan.first is not None and len(self._sound) >= self.plan.first

    def _stop(self, cause: str | None = None) -> dict[int, str]:
        """Cancel what is not at rest; why, by branch ("" where it is not wanted any more)."""
        plan = self.plan
        with self._changed:
            running = sorted({*range(len(self._states))} - {*self._rested})
            enough = self._enough()
            decided = self._decided()
        if cause is not None:
            reason = told = cause
        elif enough:
            reason, told = f"join(first={plan.first}) had enough", ""
        elif decided:
            reason = told = "another branch failed"
        else:
            reason = told = f"it was not done within {plan.timeout} s"
        if running:
            paths = {self._states[branch]._interpreter.node.path for branch in running}
            self._states[0].session.cancel_branches(reason, paths)
        return dict.fromkeys(running, told)

    def _ended(self, stopped: dict[int, str]) -> Ended:
        wanted = self._sound if self.plan.first is None else self._sound[: self.plan.first]
        failed: dict[int, BranchError] = {}
        for branch, state in enumerate(self._states):
            cause = state._interpreter.error or state.names.read_failure()
            why = stopped.get(branch)
            unkept = self.plan.first is not None and branch not in self.plan.keeps
            if cause is not None and why != "" and not (unkept and self._enough()):
                failed[branch] = _branch_error(branch, cause, why, self.plan.where)
        return Ended(list(wanted), failed)

    def to_raise(self, ended: Ended) -> list[BranchError]:
        """The failures that the join raises: those that are not kept; with `first`, only where too
        few came through. Where a failure cancelled others, it stands alone."""
        plan = self.plan
        if self._enough():
            return []
        own = {b: e for b, e in ended.failed.items() if b not in plan.keeps}
        if plan.fail_fast:
            caused = [e for e in own.values() if "another branch failed" not in e.message]
            return caused or list(own.values())
        return [own[branch] for branch in sorted(own)]


def _branch_error(branch: int, cause: EspalierError, why: str | None, where: Where) -> BranchError:
    text = f"branch {branch} failed: {cause}" if why is None else f"branch {branch}: {why}"
    error = BranchError(text, where=str(where))
    error.__cause__ = cause
    return error

"""Branches of a program: `fork`, what can be said to all of them, and `join`.

A branch begins with its parent's tokens, variables and open role, at the point of the program where
`fork` stands; it does not wait for the parent's calls to be done. Branches run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..errors import (
    BranchError,
    EspalierError,
    InvalidRequestError,
    NotSupportedError,
    ProgramError,
)
from .content import Addition
from .expr import Expr, as_expr
from .interpreter import Interpreter, Op
from .records import Node
from .state import ProgramState
from .where import Where, caller

if TYPE_CHECKING:
    from .variables import Variable

JoinMode = Literal["gather_variable", "concate_and_append"]
OnBranchError = Literal["raise", "keep"]


def fork_states(parent: ProgramState, size: int) -> list[ProgramState]:
    """`size` branches of `parent`."""
    source = parent._interpreter
    number = source.forks
    source.forks += 1
    children: list[Interpreter] = []
    for branch in range(size):
        node = Node(path=(*source.node.path, number, branch))
        source.node.children.append(node)
        children.append(Interpreter.waiting(source.session, node))

    def hand_over() -> None:
        for child in children:
            _begin(child, source, op)

    op = Op(f"fork({size})", caller(), action=hand_over, always=True)
    source.submit(op)
    return [ProgramState(child, parent._variables, parent._loops) for child in children]


def _begin(child: Interpreter, source: Interpreter, op: Op) -> None:
    """Let a branch begin with what its parent holds; where that fails, as failed: a branch that
    never began would never end."""
    child.node.after = source.calls
    if source.error is not None:
        child.fail_from(source.error, source.cause)
    try:
        content = source.content.fork()
    except Exception as error:  # the branch's own failure; its parent goes on
        child.fail(op.what, op.where, error)
        child.begin(child.content)
    else:
        child.begin(content, source.holds(len(content.tokens)))


class Forks:
    """The branches of one fork, in order: a sequence of states.

    `forks += x` adds x to each; a function gets the branch's number, a list gives one to each.
    """

    def __init__(self, states: list[ProgramState], parent: ProgramState) -> None:
        self.states = states
        self.parent = parent
        self._where = caller()

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, branch: int) -> ProgramState:
        return self.states[branch]

    def __setitem__(self, branch: int, state: ProgramState) -> None:
        if self.states[branch] is not state:
            raise InvalidRequestError(
                "a branch cannot be replaced by another state", where=str(caller())
            )

    def __iter__(self) -> Iterator[ProgramState]:
        return iter(self.states)

    def __iadd__(
        self, other: Expr | str | Callable[[int], Expr | str] | Sequence[Expr | str]
    ) -> Forks:
        for branch, state in enumerate(self.states):
            state += self._for_branch(other, branch)
        return self

    def _for_branch(self, other: Any, branch: int) -> Expr | str:
        if isinstance(other, Expr | str):
            return other
        if callable(other):
            return as_expr(other(branch))
        if isinstance(other, Sequence):
            if len(other) != len(self.states):
                raise InvalidRequestError(
                    expected=f"one entry per branch ({len(self.states)})",
                    got=str(len(other)),
                    where=str(caller()),
                )
            return as_expr(other[branch])
        raise InvalidRequestError(
            expected="text, an expression, a function of the branch's number, or a list",
            got=repr(other)[:80],
            where=str(caller()),
        )

    def wait(self) -> None:
        """Until every branch is done. Failures stay with their branches."""
        for state in self.states:
            state.sync()

    def join(
        self,
        mode: JoinMode = "gather_variable",
        *,
        errors: OnBranchError = "raise",
        first: int | None = None,
        timeout: float | None = None,
    ) -> Forks:
        """Wait for the branches and bring home what they made.

        gather_variable: each name that a branch set becomes a list in the parent, one entry per
        branch in order; None where a branch never set it. concate_and_append: the parent goes on
        with what the branches said, one after another, generated tokens as they were sampled and
        messages as its chat template writes them here.
        errors: "raise" an ExceptionGroup of BranchErrors if any branch failed; "keep" puts the
        branch's error in its place in each list (and leaves its text out).
        """
        where = caller()
        self._check_options(mode, errors, first, timeout, where)
        self.wait()
        failed = self._failures(where)
        if failed and errors == "raise":
            errors_in_order = [error for _, error in sorted(failed.items())]
            raise ExceptionGroup(
                f"{len(failed)} of {len(self.states)} branches failed (at {where}): "
                f"{errors_in_order[0].message}",
                errors_in_order,
            )
        if mode == "gather_variable":
            self._gather(failed)
        else:
            self._append(failed, where)
        return self

    def _check_options(
        self, mode: str, errors: str, first: object, timeout: object, where: Where
    ) -> None:
        for name, value in (("first", first), ("timeout", timeout)):
            if value is not None:
                raise NotSupportedError(
                    f"join({name}=...) is not built yet",
                    where=str(where),
                    hint="Read the branches' variables one by one, and cancel() those not needed.",
                )
        for what, given, known in (
            ("mode", mode, ("gather_variable", "concate_and_append")),
            ("errors", errors, ("raise", "keep")),
        ):
            if given not in known:
                raise InvalidRequestError(
                    expected=f"{what} of join: " + " or ".join(map(repr, known)),
                    got=repr(given),
                    where=str(where),
                )

    def _failures(self, where: Where) -> dict[int, BranchError]:
        failed = {}
        for branch, state in enumerate(self.states):
            cause = state.error() or _read_error(state)
            if cause is not None:
                error = BranchError(f"branch {branch} failed: {cause}", where=str(where))
                error.__cause__ = cause
                failed[branch] = error
        return failed

    def _gather(self, failed: dict[int, BranchError]) -> None:
        names = dict.fromkeys(name for state in self.states for name in _set_here(state))
        for name in names:
            values: list[Any] = []
            for branch, state in enumerate(self.states):
                variable = _set_here(state).get(name)
                if variable is None:
                    values.append(failed.get(branch))
                elif variable.read_error is not None:
                    values.append(failed.get(branch, variable.read_error))
                else:
                    values.append(variable.value)
            self.parent.set_var(name, values)

    def _append(self, failed: dict[int, BranchError], where: Where) -> None:
        said: list[Addition] = []
        for branch, state in enumerate(self.states):
            if branch not in failed:
                said.append(_added(state._interpreter, branch, where))
        parent = self.parent._interpreter

        def append() -> None:
            for addition in said:
                parent.content.add(addition)

        parent.submit(Op("join('concate_and_append')", where, action=append))


def _added(branch: Interpreter, number: int, where: Where) -> Addition:
    """What the branch said. Raises ProgramError where that cannot be appended."""
    try:
        return branch.content.added(branch.origin)
    except ProgramError as error:
        raise ProgramError(
            f"branch {number}: {error.message}", where=str(where), hint=error.hint
        ) from None


def _set_here(state: ProgramState) -> dict[str, Variable]:
    """The variables that the state set itself, after it was forked."""
    return {
        name: variable
        for name, variable in state._variables.items()
        if state._inherited.get(name) is not variable
    }


def _read_error(state: ProgramState) -> EspalierError | None:
    """A typed value of the state that cannot be read."""
    return next((v.read_error for v in _set_here(state).values() if v.read_error), None)

"""The `s` of a program that is traced: names, loops and scopes as in a run; nothing is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

from ...errors import InvalidRequestError, NotSupportedError
from .. import primitives
from ..expr import check_name
from ..fork import Forks
from ..interpreter import Interpreter, Op
from ..joining import JoinMode, OnBranchError
from ..names import Names
from ..state import ProgramState
from ..variables import Variable
from ..where import caller
from . import ir
from .symbols import TextSymbol, TracedList, ValueSymbol, at
from .tracing import ADVICE, TOOLS, Tracing
from .writing import submit

_READ = (
    "Read what has been said through variables (s.var_scope('x') names a stretch of it). " + ADVICE
)
_PIN = (
    "A stream holds what it has said until nothing goes on from it, and a batch what all its runs "
    "begin with; engine.pin(...) keeps a prefix beyond them."
)
_FAILURES = (
    "join(errors='keep') gives failures as values; the state that the run returns has its own."
)
_TIME = "Join all branches: max_tokens bounds each call, and a deadline the run. " + ADVICE


class Recorder:
    """Stands for the interpreter of one stream: what is submitted is written down."""

    error = feed = None
    synchronous = False

    def __init__(self, tracing: Tracing) -> None:
        self.tracing = tracing
        self.stream = tracing.stream()
        self.session = self

    def submit(self, op: Op) -> None:
        submit(self.tracing, self.stream, op)

    def wait(self) -> None:
        """Nothing runs."""

    def said(self, change: Callable[[], None]) -> None:
        change()


class TraceState(ProgramState):
    """See the module's docstring."""

    def __init__(self, tracing: Tracing, names: Names | None = None) -> None:
        self.recorder = Recorder(tracing)
        super().__init__(cast(Interpreter, self.recorder), names)

    def fork(self, size: int = 1, position_ids_offset: object = None) -> Forks:
        tracing, where = self.recorder.tracing, caller()
        if position_ids_offset is not None:
            raise NotSupportedError("position_ids_offset is not supported", where=str(where))
        if isinstance(size, TextSymbol | ValueSymbol):
            size = tracing.look(size._slot, size._choices, "as a number of branches")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidRequestError(
                expected="a number of branches >= 1", got=repr(size), where=str(where)
            )
        states: list[ProgramState] = [TraceState(tracing, self.names.branch()) for _ in range(size)]
        for state in states:
            state._priority = self._priority
        branches = tuple(_recorder(state).stream for state in states)
        tracing.ops.append(
            ir.Fork(stream=self.recorder.stream, where=str(where), branches=branches)
        )
        return TraceForks(states, self)

    def set_var(self, name: str, value: Any) -> None:
        tracing, where = self.recorder.tracing, caller()
        if isinstance(name, str):
            tracing.fixed("a variable's name", name, where)
        check_name(name, where)
        variable = Variable(name)
        variable.set(value)
        self.names.put(variable)
        tracing.assign(self.recorder.stream, str(where), name, value)

    def get_var(self, name: str) -> Any:
        return self.recorder.tracing.read(super().get_var(name))

    def unnamed(self) -> list[Any]:
        return [self.recorder.tracing.read(each) for each in super().unnamed()]

    def get_meta_info(self, name: str) -> dict[str, Any]:
        value = self.variable(name).meta.get("value")
        if value is None:
            self._cannot("get_meta_info of what no call has given", _READ)
        made: Any = self.recorder.tracing.give(ir.Slot(value=value, meta=True), dict)
        return cast(dict[str, Any], self.recorder.tracing.read(made))

    def __repr__(self) -> str:
        return f"TraceState({self.recorder.stream}, variables={list(self.names)})"

    def _cannot(self, what: str, hint: str) -> NoReturn:
        self.recorder.tracing.cannot(what, caller(), hint)

    def select(
        self,
        name: str | None = None,
        choices: Sequence[str] | None = None,
        temperature: float = 0.0,
        choices_method: Any = None,
        **options: Any,
    ) -> str:
        chosen = self.ask(primitives.select(name, choices, temperature, choices_method, **options))
        return cast(str, chosen)  # a stand-in, which str() would make a plain text

    def use_tools(self, *_args: Any, **_kwargs: Any) -> str:
        self._cannot("s.use_tools()", TOOLS)

    def pin(self, ttl: float | None = None) -> NoReturn:  # noqa: ARG002 (ProgramState's)
        self._cannot("s.pin(...)", _PIN)

    def text(self) -> str:
        self._cannot("s.text()", _READ)

    def token_ids(self) -> list[int]:
        self._cannot("s.token_ids()", _READ)

    def messages(self) -> list[dict[str, str]]:
        self._cannot("s.messages()", _READ)

    def sync(self) -> ProgramState:
        """A compiled program waits where it must."""
        return self

    def error(self) -> None:
        self._cannot("s.error()", _FAILURES)

    def cancel(self, reason: str = "by its owner") -> None:  # noqa: ARG002 (ProgramState's)
        self._cannot("s.cancel()", _TIME)

    @property
    def seed(self) -> int:
        self._cannot(
            "s.seed", "Give the run one, with run(seed=...), and the program as an argument."
        )

    def report(self) -> Any:
        self._cannot("s.report()", "Ask the state that the run returns.")

    def _feed(self, name: str | None) -> Any:  # noqa: ARG002 (ProgramState's)
        self._cannot(
            "reading a stream inside the program",
            "Read from the state that run(stream=True) returns.",
        )


class TraceForks(Forks):
    """The branches of a traced fork."""

    def wait(self) -> None:
        """A compiled program waits where it must."""

    def join(
        self,
        mode: JoinMode = "gather_variable",
        *,
        errors: OnBranchError = "raise",
        first: int | None = None,
        timeout: float | None = None,
    ) -> Forks:
        plan = self._plan(mode, errors, first, timeout)
        for name, given in (("first", first), ("timeout", timeout)):
            if given is not None:
                cast(TraceState, self.parent)._cannot(
                    f"join({name}=...), which depends on what is done sooner,", _TIME
                )
        parent = _recorder(self.parent)
        tracing = parent.tracing
        tracing.waits("a join", plan.where)
        set_here = [state.names.here() for state in self.states]
        names = dict.fromkeys(name for found in set_here for name in found)
        gathers = mode == "gather_variable"
        values = {name: tracing.value() for name in names} if gathers else {}
        tracing.ops.append(
            ir.Join(
                stream=parent.stream,
                where=str(plan.where),
                branches=tuple(_recorder(state).stream for state in self.states),
                mode=mode,
                keeps=tuple(sorted(plan.keeps)),
                fail_fast=plan.fail_fast,
                names=values,
            )
        )
        for name, value in values.items():
            gathered = []
            for branch, found in enumerate(set_here):
                slot = ir.Slot(value=value, path=(branch,))
                made = found[name].value if name in found else None
                tracing.note(slot, made)
                gathered.append(at(made, slot, branch in plan.keeps))
            variable = Variable(name)
            variable.set(TracedList(tracing, gathered))
            self.parent.names.put(variable)
        return self

    async def ajoin(self, *_args: Any, **_kwargs: Any) -> Forks:
        cast(TraceState, self.parent)._cannot(
            "ajoin", "Write forks.join(...), which waits for nothing here."
        )


def _recorder(state: ProgramState) -> Recorder:
    return cast(TraceState, state).recorder

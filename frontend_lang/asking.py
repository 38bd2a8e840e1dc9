"""The half of a state that asks the model and waits for the answer.

`s += gen("x")` says and goes on; what stands here says and returns the value, typed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload

from ..errors import InvalidRequestError
from . import primitives
from .expr import Expr, Gen, Select
from .json_parts import JsonPart, JsonParts
from .options import SelectOptions, TextOptions, ValueOptions
from .scopes import PrefixPin, pin_state
from .tools import Tool, ToolCall, answer_grammar, checked_tools, tool_list
from .where import caller

if TYPE_CHECKING:
    from .state import ProgramState

T = TypeVar("T")


class Asking(ABC):
    """See the module's docstring; `ProgramState` is the one class of it."""

    _priority: int | None

    @abstractmethod
    def submit(self, expr: Expr) -> Any: ...
    @abstractmethod
    def text_iter(self, var_name: str | None = None) -> Iterator[str]: ...
    @abstractmethod
    def text_async_iter(self, var_name: str | None = None) -> AsyncIterator[str]: ...

    @overload
    def gen(
        self,
        name: str | None = None,
        max_tokens: int | None = None,
        *,
        tools: Sequence[Callable[..., Any]],
        **options: Unpack[TextOptions],
    ) -> Any: ...
    @overload
    def gen(  # type: ignore[overload-overlap]  # 1 is an int, and one value
        self,
        name: str | None = None,
        max_tokens: int | None = None,
        *,
        n: Literal[1],
        **options: Unpack[TextOptions],
    ) -> str: ...
    @overload
    def gen(
        self,
        name: str | None = None,
        max_tokens: int | None = None,
        *,
        n: int,
        **options: Unpack[TextOptions],
    ) -> list[str]: ...
    @overload
    def gen(
        self,
        name: str | None = None,
        max_tokens: int | None = None,
        **options: Unpack[TextOptions],
    ) -> str: ...
    @overload
    def gen(  # type: ignore[overload-overlap]  # 1 is an int, and one value
        self, name: str | None, dtype: type[T], /, *, n: Literal[1], **options: Unpack[ValueOptions]
    ) -> T: ...
    @overload
    def gen(
        self, name: str | None, dtype: type[T], /, *, n: int, **options: Unpack[ValueOptions]
    ) -> list[T]: ...
    @overload
    def gen(self, name: str | None, dtype: type[T], /, **options: Unpack[ValueOptions]) -> T: ...
    @overload
    def gen(
        self, name: str | None = None, *, dtype: type[T], **options: Unpack[ValueOptions]
    ) -> T: ...
    @overload
    def gen(
        self, name: str | None = None, *, dtype: object, **options: Unpack[ValueOptions]
    ) -> Any: ...
    @overload
    def gen(self, name: str | None, dtype: object, /, **options: Unpack[ValueOptions]) -> Any: ...
    def gen(self, *args: Any, **options: Any) -> Any:
        """`s += gen(...)`, and its value: a `Person` from `s.gen("x", Person)`. Waits for it."""
        return self.ask(primitives.gen(*args, **options))

    def select(
        self,
        name: str | None = None,
        choices: Sequence[str] | None = None,
        temperature: float = 0.0,
        choices_method: Any = None,
        **options: Unpack[SelectOptions],
    ) -> str:
        """`s += select(...)`, and the choice. Waits for it."""
        return str(
            self.ask(primitives.select(name, choices, temperature, choices_method, **options))
        )

    def ask(self, expr: Gen[Any] | Select) -> Any:
        return self.submit(expr).read()

    # -- JSON as it comes --------------------------------------------------------------------------

    def stream_json(self, name: str) -> Iterator[JsonPart]:
        """The values inside a variable's JSON, each as soon as it is complete, the members of an
        object before the object. Raises ProgramError where the text is no JSON, and what ended it.
        """
        parts = JsonParts()
        for text in self.text_iter(name):
            yield from parts.feed(text)
        yield from parts.finish()

    async def astream_json(self, name: str) -> AsyncIterator[JsonPart]:
        """`stream_json` for asyncio."""
        parts = JsonParts()
        async for text in self.text_async_iter(name):
            for part in parts.feed(text):
                yield part
        for part in parts.finish():
            yield part

    # -- tools -------------------------------------------------------------------------------------

    def use_tools(
        self,
        question: str,
        tools: Sequence[Tool],
        *,
        name: str = "answer",
        max_calls: int = 8,
        **options: Any,
    ) -> str:
        """Ask, and let the model call Python functions until it answers; the answer is `s[name]`.

        The functions run here, one after another; what they return (or raise) is told to the model
        as the next user's message. After `max_calls` calls it must answer. options: of each gen.
        `s[f"{name}_call{i}"]` is the i-th call.
        """
        where = caller()
        checked_tools(tools, where)
        if isinstance(max_calls, bool) or not isinstance(max_calls, int) or max_calls < 0:
            raise InvalidRequestError(
                expected="a number of calls >= 0", got=repr(max_calls), where=f"{where}, max_calls"
            )
        if options.get("n", 1) != 1:
            raise InvalidRequestError(
                expected="one answer",
                got=f"n={options['n']!r}",
                where=f"{where}, n",
                hint="Fork the state, and let each branch use tools.",
            )
        state = cast("ProgramState", self)
        state.user(f"{tool_list(tools)}\n{question}")
        for number in range(max_calls):
            step = f"{name}_call{number}"
            state.assistant(primitives.gen(step, tools=tools, **options))
            call = state[step]
            if not isinstance(call, ToolCall):
                state[name] = call
                return str(call)
            state.user(call.told())
        state.assistant(primitives.gen(name, grammar=answer_grammar(), **options))
        return str(state[name])

    # -- scopes ------------------------------------------------------------------------------------

    @contextmanager
    def priority(self, priority: int) -> Iterator[None]:
        """Inside, calls (also those of branches that are forked inside) go before those of a lower
        number; a run's own is 0 unless it says otherwise."""
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise InvalidRequestError(
                expected="an integer", got=repr(priority), where=f"{caller()}, priority"
            )
        before, self._priority = self._priority, priority
        try:
            yield
        finally:
            self._priority = before

    def pin(self, ttl: float | None = None) -> PrefixPin:
        """Keep what has been said so far in the cache: computed now, evicted last, for `ttl`
        seconds or until the pin is released (`with s.pin(): ...` does that at its end); without a
        ttl until the run's end at the latest. Soft: losing it costs computation."""
        return pin_state(cast("ProgramState", self), ttl, caller())

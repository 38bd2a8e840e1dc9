"""Python functions as tools: what the model may write, and running what it wrote.

    s += esp.user(esp.tool_list([weather, add]) + "\nWhat is 12 plus 30?")
    s += esp.assistant(esp.gen("step", tools=[weather, add]))
    call = s["step"]                 # a ToolCall, or the answer as text
    s += esp.user(call.told())       # runs it: "Result: 42"

`s.use_tools(question, [weather, add])` does this until the model answers. A call is one line of
plain text, `{"tool": "add", "args": {"a": 12, "b": 30}}`, whose arguments are those of the function
by grammar; whatever does not begin so is an answer. The tool calls of a model's own template, with
control tokens of its own, are the server's.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidRequestError
from ..grammar import terms
from ..grammar.spec import GrammarSpec
from .where import Where

Tool = Callable[..., Any]
_HEAD = '{{"tool": {name}, "args": '
_ANSWER = r"[^{](.|\n)*"


@dataclass(frozen=True)
class ToolCall:
    """A call that the model wrote. arguments: by name, as the function's annotations have them."""

    name: str
    arguments: dict[str, Any]
    tool: Tool = field(repr=False)

    def run(self) -> Any:
        """What the function returns, or raises."""
        return self.tool(**self.arguments)

    def told(self) -> str:
        """Run it: its result as the model is told it. What the function raises is told too."""
        try:
            result = self.run()
        except Exception as error:
            return f"Error: {type(error).__name__}: {error}"
        return f"Result: {result if isinstance(result, str) else _written(result)}"


@dataclass(frozen=True)
class ToolCalls:
    """The type of a gen with tools: a ToolCall, or text."""

    tools: tuple[Tool, ...]

    @property
    def grammar(self) -> GrammarSpec:
        """One call, or an answer."""
        calls = [
            terms.sequence(_head(tool.__name__), terms.json_of(tool), "}") for tool in self.tools
        ]
        return terms.grammar(terms.choice(*calls, terms.regex(_ANSWER)))

    def is_answer(self, text: str) -> bool:
        """Whether the text is an answer, which may be cut like any text."""
        return not text.startswith("{")

    def value(self, text: str) -> ToolCall | str:
        """What a text of the grammar stands for. Raises GrammarError where a value is refused."""
        from ..grammar.python_types import value_of

        for tool in self.tools:
            head = _head(tool.__name__)
            if text.startswith(head):
                return ToolCall(tool.__name__, value_of(tool, text[len(head) : -1]), tool)
        return text


def answer_grammar() -> GrammarSpec:
    """An answer, and no call."""
    return GrammarSpec.regex(_ANSWER)


def tool_list(tools: Sequence[Tool]) -> str:
    """One line that tells the model its tools: `Tools: weather(city), add(a, b)`."""
    listed = (f"{tool.__name__}({', '.join(inspect.signature(tool).parameters)})" for tool in tools)
    return f"Tools: {', '.join(listed)}"


def checked_tools(tools: Any, where: Where) -> ToolCalls:
    """Raises InvalidRequestError for what are no functions with names of their own."""
    wrong: object = None
    if isinstance(tools, str) or not isinstance(tools, Sequence) or not tools:
        wrong = tools
    else:
        names = [getattr(tool, "__name__", None) for tool in tools]
        for tool, name in zip(tools, names, strict=True):
            waits = inspect.iscoroutinefunction(tool)
            if not inspect.isroutine(tool) or waits or name == "<lambda>" or names.count(name) > 1:
                wrong = tool
    if wrong is not None:
        raise InvalidRequestError(
            expected="a list of plain Python functions, each with a name of its own",
            got=repr(wrong)[:80],
            where=f"{where}, tools",
        )
    return ToolCalls(tuple(tools))


def _head(name: str) -> str:
    return _HEAD.format(name=json.dumps(name))


def _written(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)

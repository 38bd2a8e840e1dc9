"""What a request's tools mean for its prompt, its grammar, and the reading of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ...errors import InvalidRequestError, NotSupportedError
from ...grammar import terms as t
from ...grammar.spec import GrammarSpec
from ..tokenizer import Tokenizer
from .api_chat import ChatRequest, NamedTool, Tool
from .dialect import Dialect
from .settings import Limits
from .structured import AskedGrammar, check_size
from .tool_formats import SPRIG, ToolFormat, ToolSpec, forced, optional
from .tool_parser import ToolParser
from .tool_readings import check_unlike_calls


@dataclass(frozen=True)
class ToolPlan:
    """tools: all that the model is told of. called: those it may call. grammar: of the answer, or
    of what follows `trigger`, a token that the model may choose. begin: tokens that the prompt ends
    with, so that the answer is a call. either: the answer is calls, or what another grammar says.
    """

    form: ToolFormat
    tools: Sequence[Tool]
    specs: Sequence[ToolSpec]
    called: Sequence[ToolSpec]
    grammar: AskedGrammar
    trigger: int | None = None
    begin: tuple[int, ...] = ()
    either: bool = False

    def parser(self) -> ToolParser:
        """For one answer."""
        names = [tool.name for tool in self.called]
        return ToolParser(self.form, names, in_calls=bool(self.begin), either=self.either)

    def call_id(self) -> str:
        """A new call's id."""
        if self.form.id_length:
            return uuid4().hex[: self.form.id_length]
        return f"call_{uuid4().hex[:24]}"

    @property
    def for_template(self) -> list[dict[str, Any]] | None:
        """The tools as chat templates read them; None where the messages list them."""
        if self.form is SPRIG:
            return None
        kept: Any = {"function": {"name", "description", "parameters"}, "type": True}
        return [tool.model_dump(include=kept, exclude_none=True) for tool in self.tools]


def plan_tools(
    asked: ChatRequest, dialect: Dialect, limits: Limits, answer: AskedGrammar | None = None
) -> ToolPlan | None:
    """None for a request without tools. answer: what an answer without calls is held to. Raises
    InvalidRequestError or NotSupportedError."""
    choice = asked.tool_choice
    if not asked.tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequestError(expected="tools to choose from", where="tool_choice")
        return None
    specs = _specs(asked.tools, limits)
    if choice == "none":
        return None
    form = dialect.tool_form
    called = _called(specs, choice)
    parallel = asked.parallel_tool_calls is not False and not isinstance(choice, NamedTool)
    must = choice == "required" or isinstance(choice, NamedTool)
    either = answer is not None and not must
    make = forced if must or either or form.token else optional
    grammar = AskedGrammar("tools", make(form, called, parallel=parallel))
    check_size(grammar.spec, "tools", limits.grammar_chars)
    if answer is not None and not must:
        check_unlike_calls(form, called, answer)
        grammar = _either(answer, grammar.spec)
    token = _token(form, dialect.tokenizer) if form.token else None
    begin = (token,) if must and token is not None else ()
    return ToolPlan(
        form, asked.tools, specs, called, grammar, None if must else token, begin, either
    )


def _specs(tools: Sequence[Tool], limits: Limits) -> list[ToolSpec]:
    if len(tools) > limits.tools:
        raise InvalidRequestError(
            expected=f"at most {limits.tools} tools", got=str(len(tools)), where="tools"
        )
    specs = [ToolSpec(f.name, f.parameters, f.strict is False) for f in (t.function for t in tools)]
    names = [spec.name for spec in specs]
    for number, spec in enumerate(specs):
        if spec.name in names[:number]:
            raise InvalidRequestError(
                expected="each tool once", got=repr(spec.name), where=f"tools[{number}]"
            )
    return specs


def _called(specs: Sequence[ToolSpec], choice: str | NamedTool | None) -> Sequence[ToolSpec]:
    """The tools that may be called."""
    if not isinstance(choice, NamedTool):
        return specs
    called = [spec for spec in specs if spec.name == choice.function.name]
    if not called:
        raise InvalidRequestError(
            expected=f"one of the tools: {', '.join(spec.name for spec in specs)}",
            got=repr(choice.function.name[:80]),
            where="tool_choice",
        )
    return called


def _either(answer: AskedGrammar, calls: GrammarSpec) -> AskedGrammar:
    """What the other field asks for, or calls."""
    spec = t.grammar(t.choice(t.Json(answer.spec), t.Json(calls)))
    return AskedGrammar("tools", spec, (("json_of[0]", answer.field), ("json_of[1]", "tools")))


def _token(form: ToolFormat, tokenizer: Tokenizer) -> int:
    token = tokenizer.special_of.get(form.trigger)
    if token is None:
        raise NotSupportedError(
            f"the model's tokenizer has no special token {form.trigger!r}", where="tools"
        )
    return token

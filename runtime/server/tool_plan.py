"""What a request's tools mean for its prompt, its grammar, and the reading of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ...errors import InvalidRequestError, NotSupportedError
from ..tokenizer import Tokenizer
from .api_chat import ChatRequest, NamedTool, Tool
from .settings import Limits
from .structured import AskedGrammar, check_size
from .tool_formats import SPRIG, ToolFormat, ToolSpec, detect, forced, optional
from .tool_parser import ToolParser


@dataclass(frozen=True)
class ToolPlan:
    """tools: all that the model is told of. called: those it may call. grammar: of the answer, or
    of what follows `trigger`, a token that the model may choose. begin: tokens that the prompt ends
    with, so that the answer is a call."""

    form: ToolFormat
    tools: Sequence[Tool]
    specs: Sequence[ToolSpec]
    called: Sequence[ToolSpec]
    grammar: AskedGrammar
    trigger: int | None = None
    begin: tuple[int, ...] = ()

    def parser(self) -> ToolParser:
        """For one answer."""
        names = [tool.name for tool in self.called]
        return ToolParser(self.form, names, in_calls=bool(self.begin))

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


def plan_tools(asked: ChatRequest, tokenizer: Tokenizer, limits: Limits) -> ToolPlan | None:
    """None for a request without tools. Raises InvalidRequestError or NotSupportedError."""
    choice = asked.tool_choice
    if not asked.tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequestError(expected="tools to choose from", where="tool_choice")
        return None
    if len(asked.tools) > limits.tools:
        raise InvalidRequestError(
            expected=f"at most {limits.tools} tools", got=str(len(asked.tools)), where="tools"
        )
    specs = [
        ToolSpec(f.name, f.parameters, f.strict is False) for f in (t.function for t in asked.tools)
    ]
    names = [spec.name for spec in specs]
    for number, spec in enumerate(specs):
        if spec.name in names[:number]:
            raise InvalidRequestError(
                expected="each tool once", got=repr(spec.name), where=f"tools[{number}]"
            )
    if choice == "none":
        return None
    form = detect(tokenizer)
    called = specs
    if isinstance(choice, NamedTool):
        called = [spec for spec in specs if spec.name == choice.function.name]
        if not called:
            raise InvalidRequestError(
                expected=f"one of the tools: {', '.join(names)}",
                got=repr(choice.function.name[:80]),
                where="tool_choice",
            )
    parallel = asked.parallel_tool_calls is not False and not isinstance(choice, NamedTool)
    must = choice == "required" or isinstance(choice, NamedTool)
    make = forced if must or form.token else optional
    grammar = make(form, called, parallel=parallel)
    check_size(grammar, "tools", limits.grammar_chars)
    token = _token(form, tokenizer) if form.token else None
    begin = (token,) if must and token is not None else ()
    return ToolPlan(
        form,
        asked.tools,
        specs,
        called,
        AskedGrammar("tools", grammar),
        None if must else token,
        begin,
    )


def _token(form: ToolFormat, tokenizer: Tokenizer) -> int:
    token = tokenizer.special_of.get(form.trigger)
    if token is None:
        raise NotSupportedError(
            f"the model's tokenizer has no special token {form.trigger!r}", where="tools"
        )
    return token

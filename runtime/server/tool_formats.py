"""How models write tool calls, told from their chat template, and the grammars of these forms.

A group of calls is `open`, then calls with `between` between them, then `close`; a call is
`before`, the tool's name, `middle`, its arguments as a JSON object, `end`. `trigger` is what the
first of them begins with: free text may come before it, and what follows it is held to the form.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import NotSupportedError
from ...grammar import terms as t
from ...grammar.spec import GrammarSpec
from ..tokenizer import Tokenizer

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, kw_only=True)
class ToolFormat:
    """See the module's docstring. token: the trigger is a special token, which text leaves out and
    no grammar can write: it is the end of a first answer, and the start of a second one.
    id_length: of the call ids that the model's template takes; 0: any."""

    name: str
    trigger: str
    before: str
    middle: str
    end: str
    between: str
    open: str = ""
    close: str = ""
    token: bool = False
    id_length: int = 0

    def head(self, tool: str) -> str:
        """A call up to its arguments."""
        return f"{self.before}{tool}{self.middle}"


HERMES = ToolFormat(
    name="hermes",
    trigger="<tool_call>",
    before='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    end="}\n</tool_call>",
    between="\n",
)
LLAMA3 = ToolFormat(
    name="llama3",
    trigger='{"name": "',
    before='{"name": "',
    middle='", "parameters": ',
    end="}",
    between="; ",
)
MISTRAL = ToolFormat(
    name="mistral",
    trigger="[TOOL_CALLS]",
    token=True,
    open="[",
    before='{"name": "',
    middle='", "arguments": ',
    end="}",
    between=", ",
    close="]",
    id_length=9,
)
DEEPSEEK_V3 = ToolFormat(
    name="deepseek-v3",
    trigger="<｜tool▁calls▁begin｜>",
    open="<｜tool▁calls▁begin｜>",
    before="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    middle="\n```json\n",
    end="\n```<｜tool▁call▁end｜>",
    between="\n",
    close="<｜tool▁calls▁end｜>",
)
DEEPSEEK_V31 = ToolFormat(
    name="deepseek-v3.1",
    trigger="<｜tool▁calls▁begin｜>",
    open="<｜tool▁calls▁begin｜>",
    before="<｜tool▁call▁begin｜>",
    middle="<｜tool▁sep｜>",
    end="<｜tool▁call▁end｜>",
    between="",
    close="<｜tool▁calls▁end｜>",
)
SPRIG = ToolFormat(
    name="sprig",
    trigger='{"tool": "',
    before='{"tool": "',
    middle='", "args": ',
    end="}",
    between="\n",
)
FORMATS = (HERMES, LLAMA3, MISTRAL, DEEPSEEK_V3, DEEPSEEK_V31, SPRIG)


def detect(tokenizer: Tokenizer) -> ToolFormat:
    """The form that a model's chat template teaches. Raises NotSupportedError where there is none
    that is known."""
    source = "" if tokenizer.chat_template is None else tokenizer.chat_template.source
    if "[TOOL_CALLS]" in source and "[ARGS]" not in source:
        return MISTRAL
    if "<｜tool▁calls▁begin｜>" in source:
        return DEEPSEEK_V3 if "```json" in source else DEEPSEEK_V31
    if "<tool_call>" in source and "<function=" not in source:
        return HERMES
    if is_sprig(tokenizer):
        return SPRIG
    if '"parameters": ' in source and "ipython" in source:
        return LLAMA3
    raise NotSupportedError(
        "this model's chat template writes no tool calls in a form that is known",
        where="tools",
        hint="Known: Hermes and Qwen, Llama 3, Mistral up to v7, DeepSeek V3, Sprig. With another "
        "model, describe the tools in a message, and give response_format a schema.",
    )


def is_sprig(tokenizer: Tokenizer) -> bool:
    """Whether tools and their results are told in plain messages, as Sprig's template wants."""
    template = tokenizer.chat_template
    return template is not None and "Sprig knows the roles" in template.source


@dataclass(frozen=True)
class ToolSpec:
    """A tool that a request offers. lenient: what cannot be enforced is left out."""

    name: str
    parameters: dict[str, Any] | None
    lenient: bool

    @property
    def grammar(self) -> GrammarSpec:
        """The arguments: an object, as the schema says."""
        schema = self.parameters or _NO_PARAMETERS
        if "type" not in schema:
            schema = {"type": "object", **schema}
        return GrammarSpec.json_schema(schema, lenient=self.lenient)


def forced(form: ToolFormat, tools: Sequence[ToolSpec], *, parallel: bool) -> GrammarSpec:
    """The text is a group of calls, of one call unless parallel."""
    lead = t.optional(" ") if form.token else t.text("")
    return t.grammar(lead + form.open + _calls(form, tools, parallel) + form.close)


def optional(form: ToolFormat, tools: Sequence[ToolSpec], *, parallel: bool) -> GrammarSpec:
    """Free text, in which what begins as a call is one. Of a form whose trigger is text."""
    tags: list[dict[str, Any]]
    if form.open:
        content = t.grammar(_calls(form, tools, parallel))
        tags = [{"begin": form.open, "content": content, "end": form.close}]
    else:
        tags = [
            {"begin": form.head(tool.name), "content": tool.grammar, "end": form.end}
            for tool in tools
        ]
    return GrammarSpec.structural_tag(tags, [form.trigger], stop_after_first=not parallel)


def _calls(form: ToolFormat, tools: Sequence[ToolSpec], parallel: bool) -> t.Term:
    call = t.choice(
        *(t.sequence(form.head(tool.name), t.Json(tool.grammar), form.end) for tool in tools)
    )
    return call + t.repeat(form.between + call) if parallel else call


def arguments_as_text(tokenizer: Tokenizer) -> bool:
    """Whether the template wants the arguments of earlier calls as JSON text, not as an object."""
    if tokenizer.chat_template is None:
        return False
    probe = {"probe": "of arguments"}
    call = {
        "id": "call00000",
        "type": "function",
        "function": {"name": "f", "arguments": probe},
    }
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    try:
        text = tokenizer.render_chat(messages)
    except Exception:  # the template's own: it adds the arguments to a text
        return True
    return not any(json.dumps(probe, separators=s) in text for s in ((", ", ": "), (",", ":")))

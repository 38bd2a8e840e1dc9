"""Reasoning told from the answer: where a thinking model's own tags stand in its text.

A text is (answer) start reasoning end answer. `forced` formats begin inside the reasoning, whether
the text repeats the start tag or the template wrote it. Reasoning without its end is all that is
left of the text, unless the start of a tool call breaks it off. Only the first block is split off;
tags are no part of either side.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..errors import InvalidRequestError, NotSupportedError
from ..types import REASONING_MARKS
from .backends.base import Tokenizer
from .where import Where

SUFFIX = "_reasoning_content"
"""What a gen's name gets as the name of the variable that holds its reasoning."""


@dataclass(frozen=True)
class ReasoningFormat:
    """See the module's docstring. tool: what ends a block that has no end tag; stays in the
    answer."""

    start: str = "<think>"
    end: str = "</think>"
    forced: bool = False
    tool: str | None = None


def _marked(family: str, *, forced: bool = False, tool: str | None = None) -> ReasoningFormat:
    marks = REASONING_MARKS[family]
    return ReasoningFormat(marks.open, marks.close, forced, tool)


_THINK = _marked("think")
_FORCED = _marked("think", forced=True)
_TOOLS = _marked("think", tool="<tool_call>")
FORMATS: dict[str, ReasoningFormat] = {
    **dict.fromkeys(("deepseek-r1", "step3", "step3p5", "gigachat35", "iquest_q1"), _FORCED),
    **dict.fromkeys(
        ("deepseek-v4", "deepseek-v41", "nemotron_3", "granite_thinking_parser"), _THINK
    ),
    **dict.fromkeys(
        ("qwen3", "deepseek-v3", "dots", "glm45", "interns1", "mimo", "nanbeige", "poolside_v1"),
        _TOOLS,
    ),
    **dict.fromkeys(
        ("qwen3-thinking", "minimax"), _marked("think", forced=True, tool="<tool_call>")
    ),
    "gemma4": _marked("gemma-4"),
    "k2_horizon": _marked("k2-horizon", forced=True, tool="<ifm|tool_call"),
    "kimi": _marked("kimi-vl"),
    "kimi_k2": _marked("think", tool="<|tool_calls_section_begin|>"),
    "minimax-m3": _marked("minimax-m3"),
    "mistral": _marked("mistral"),
}
"""By SGLang's names of model types."""


def reasoning_format(model_type: object, where: Where) -> ReasoningFormat:
    """The format of a model type. Raises InvalidRequestError for None and what is no name,
    NotSupportedError for a name that is not known."""
    if not isinstance(model_type, str) or not model_type:
        raise InvalidRequestError(
            expected="a model type by name",
            got=repr(model_type)[:80],
            where=f"{where}, model_type",
            hint="Known: " + ", ".join(sorted(FORMATS)) + ".",
        )
    found = FORMATS.get(model_type.lower())
    if found is None:
        raise NotSupportedError(
            f"no reasoning format is known for the model type {model_type!r}",
            where=f"{where}, model_type",
            hint="Known: " + ", ".join(sorted(FORMATS)) + ". Any model that writes <think> and "
            "</think> is 'qwen3', or 'deepseek-r1' where its template writes the <think>.",
        )
    return found


Kind = Literal["answer", "reasoning"]
_State = Literal["first", "before", "inside", "behind"]


class Part(NamedTuple):
    """A stretch of a text, and which side it belongs to."""

    kind: Kind
    text: str


class Splitter:
    """Tells the sides apart while a text comes in. However it is cut into pieces, the parts, joined
    by kind, are the same."""

    def __init__(self, form: ReasoningFormat) -> None:
        self._form = form
        self._buffer = ""
        self._state: _State = "first"

    def feed(self, text: str) -> list[Part]:
        """The parts that the text's next piece makes certain."""
        self._buffer += text
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def finish(self) -> list[Part]:
        """What is left at the text's end: no tag, then."""
        left, self._buffer = self._buffer, ""
        inside = self._state == "inside" or (self._state == "first" and self._form.forced)
        return [Part("reasoning" if inside else "answer", left)] if left else []

    def _step(self, parts: list[Part]) -> bool:
        form = self._form
        match self._state:
            case "first":
                return self._enter()
            case "before":
                return self._until({form.start: "inside"}, "answer", parts)
            case "inside":
                ends = [form.end, form.tool] if form.tool else [form.end]
                return self._until(dict.fromkeys(ends, "behind"), "reasoning", parts)
        if self._buffer:
            parts.append(Part("answer", self._buffer))
            self._buffer = ""
        return False

    def _enter(self) -> bool:
        """Whether the text is known to begin with the start tag, or not to."""
        start = self._form.start
        if not self._form.forced:
            self._state = "before"
            return True
        if len(self._buffer) < len(start) and start.startswith(self._buffer):
            return False
        self._buffer = self._buffer.removeprefix(start)
        self._state = "inside"
        return True

    def _until(self, tags: dict[str, _State], kind: Kind, parts: list[Part]) -> bool:
        """Pass on what stands before the first tag, and hold back what may begin one."""
        found = [(self._buffer.find(tag), tag) for tag in tags if tag in self._buffer]
        at, tag = min(found) if found else (len(self._buffer) - self._held(tags), "")
        if at:
            parts.append(Part(kind, self._buffer[:at]))
        kept = tag == self._form.tool
        self._buffer = self._buffer[at + (0 if kept else len(tag)) :]
        if not tag:
            return False
        self._state = tags[tag]
        return True

    def _held(self, tags: Collection[str]) -> int:
        """How much of the buffer's end may be the beginning of a tag."""
        longest = max(map(len, tags)) - 1
        for length in range(min(longest, len(self._buffer)), 0, -1):
            if any(tag.startswith(self._buffer[-length:]) for tag in tags):
                return length
        return 0


def split(form: ReasoningFormat, text: str) -> tuple[str, str]:
    """(reasoning, answer) of a whole text."""
    splitter = Splitter(form)
    parts = [*splitter.feed(text), *splitter.finish()]
    return (
        "".join(part.text for part in parts if part.kind == "reasoning"),
        "".join(part.text for part in parts if part.kind == "answer"),
    )


def answer_tokens(tokenizer: Tokenizer, ids: Sequence[int], answer: str) -> list[int] | None:
    """The last of `ids`, as sampled, where they spell just the answer; None where a token holds
    both of a tag's end and the answer's beginning."""
    data = answer.encode()
    left = len(data)
    for at in range(len(ids), -1, -1):
        if left <= 0:
            spelled = b"".join(tokenizer.token_bytes(token) for token in ids[at:])
            return list(ids[at:]) if spelled == data else None
        if at:
            left -= len(tokenizer.token_bytes(ids[at - 1]))
    return None

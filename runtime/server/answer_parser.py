"""Reads an answer as it comes: reasoning, content, and calls of tools."""

from __future__ import annotations

from collections.abc import Sequence

from .answer_pieces import Content, Piece, Reasoning
from .reasoning import ReasoningPlan
from .reasoning_parser import Answer, Part, ReasoningParser, Verbatim
from .tool_parser import ToolParser


class AnswerParser:
    """Of one sample. reasoning, tools: None where an answer has none of them."""

    def __init__(self, reasoning: ReasoningPlan | None, tools: ToolParser | None) -> None:
        self._plan = reasoning
        self._reasoning = None if reasoning is None else ReasoningParser(reasoning)
        self._tools = tools
        self._held: list[str] = []  # reasoning that is to be told in one piece

    @property
    def calls(self) -> int:
        """Calls begun so far."""
        return 0 if self._tools is None else self._tools.calls

    def feed(self, text: str) -> list[Piece]:
        """What the text's next piece makes certain."""
        if self._reasoning is None:
            return self._answer(text)
        return self._told(self._reasoning.feed(text))

    def enter(self) -> list[Piece]:
        """Calls begin here, by a special token."""
        assert self._tools is not None
        told = [] if self._reasoning is None else self._told(self._reasoning.finish())
        self._reasoning = None
        return told + self._release() + self._tools.enter()

    def finish(self) -> list[Piece]:
        """What is left at the text's end."""
        told = [] if self._reasoning is None else self._told(self._reasoning.finish())
        told += self._release()
        return told if self._tools is None else told + self._tools.finish()

    def _answer(self, text: str) -> list[Piece]:
        if self._tools is not None:
            return self._tools.feed(text)
        return [Content(text)] if text else []

    def _told(self, parts: Sequence[Part]) -> list[Piece]:
        assert self._plan is not None
        told: list[Piece] = []
        for part in parts:
            if isinstance(part, Answer):
                told += [*self._release(), *self._answer(part.text)]
            elif not self._plan.told:
                continue
            elif isinstance(part, Verbatim):
                told.append(Content(part.text))
            elif self._plan.streamed:
                told.append(part)
            else:
                self._held.append(part.text)
        return told

    def _release(self) -> list[Piece]:
        held, self._held = "".join(self._held), []
        return [Reasoning(held)] if held else []

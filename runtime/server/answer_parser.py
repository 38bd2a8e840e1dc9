"""Reads an answer as it comes: reasoning, content, and calls of tools."""

from __future__ import annotations

from collections.abc import Sequence

from .answer_pieces import Arguments, CallBegins, Content, Piece, Reasoning
from .reasoning import ReasoningPlan
from .reasoning_parser import Answer, Part, ReasoningParser, Verbatim
from .stages import Stage
from .tool_parser import ToolParser


class AnswerParser:
    """Of one sample, whose stages begin with `stage`. reasoning: None where there is none. tools:
    reads calls out of text; None where there are none."""

    def __init__(
        self, reasoning: ReasoningPlan | None, tools: ToolParser | None, stage: Stage
    ) -> None:
        self._plan = reasoning
        in_text = reasoning is not None and reasoning.ids is None
        self._reasoning = ReasoningParser(reasoning) if reasoning and in_text else None
        self._tools = tools
        self._stage = stage
        self._staged = 0  # calls that are stages of their own
        self._held: list[str] = []  # reasoning that is to be told in one piece
        self._space = ""  # white space that may be the end of reasoning
        self._blank = True  # nothing but white space since reasoning began, or ended

    @property
    def calls(self) -> int:
        """Calls begun so far."""
        return self._staged + (0 if self._tools is None else self._tools.calls)

    def enter(self, stage: Stage) -> list[Piece]:
        """Another stage begins."""
        told = self._leave()
        reasoned, self._stage = self._stage.kind == "reasoning", stage
        if reasoned:
            told += self._verbatim(self._marks[1]) + self._release()
        if stage.kind == "reasoning":
            told += self._verbatim(self._marks[0])
        elif stage.kind == "arguments":
            told.append(CallBegins(self._staged, stage.tool))
            self._staged += 1
        self._blank = stage.kind == "reasoning" or (reasoned and stage.grammar is None)
        return told

    def feed(self, text: str) -> list[Piece]:
        """What the text's next piece makes certain."""
        kind = self._stage.kind
        if kind == "answer":
            return self._answer(text)
        if kind == "reasoning":
            return self._reason(text)
        if kind == "calls":
            assert self._tools is not None
            return self._tools.feed(text)
        return [Arguments(self._staged - 1, text)] if kind == "arguments" and text else []

    def finish(self) -> list[Piece]:
        """What is left at the text's end."""
        told = self._leave() + self._release()
        return told if self._tools is None else told + self._tools.finish()

    def _leave(self) -> list[Piece]:
        """What is left of a stage whose text has ended."""
        if self._stage.kind != "answer" or self._reasoning is None:
            return []
        return self._told(self._reasoning.finish()) + self._release()

    # -- reasoning between special tokens ----------------------------------------------------------

    @property
    def _marks(self) -> tuple[str, str]:
        assert self._plan is not None
        return self._plan.marks.open, self._plan.marks.close

    def _verbatim(self, mark: str) -> list[Piece]:
        assert self._plan is not None
        told = self._plan.told and not self._plan.separate
        return [Content(mark)] if told else []

    def _reason(self, text: str) -> list[Piece]:
        """White space around it is left out."""
        assert self._plan is not None
        if not self._plan.separate:
            return self._told([Verbatim(text)]) if text else []
        text = self._space + text
        if self._blank:
            text = text.lstrip()
        ready = text.rstrip()
        self._space = text[len(ready) :]
        if not ready:
            return []
        self._blank = False
        return self._told([Reasoning(ready)])

    # -- text --------------------------------------------------------------------------------------

    def _answer(self, text: str) -> list[Piece]:
        if self._reasoning is not None:
            return self._told(self._reasoning.feed(text))
        return self._content(text)

    def _content(self, text: str) -> list[Piece]:
        if self._blank and self._plan is not None and self._plan.ids is not None:
            text = text.lstrip()
        if not text:
            return []
        self._blank = False
        if self._tools is not None and not self._tools.in_stages:
            return self._tools.feed(text)
        return [Content(text)]

    def _told(self, parts: Sequence[Part]) -> list[Piece]:
        assert self._plan is not None
        told: list[Piece] = []
        for part in parts:
            if isinstance(part, Answer):
                told += [*self._release(), *self._content(part.text)]
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

"""Tells a model's reasoning from what follows while a text comes in, piece by piece.

Whatever the pieces, joined they give what the whole text gives: `feed` holds back what may yet turn
out to be a mark, or white space at the reasoning's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .answer_pieces import Reasoning
from .reasoning import GAP, ReasoningPlan


@dataclass(frozen=True)
class Answer:
    """Text behind the reasoning."""

    text: str


@dataclass(frozen=True)
class Verbatim:
    """Reasoning that is not told apart: with its marks, as the model wrote it."""

    text: str


Part = Reasoning | Verbatim | Answer


class ReasoningParser:
    """See the module's docstring. White space around the reasoning is dropped, and behind it what
    the grammar's `GAP` is, or all white space where there is no grammar."""

    def __init__(self, plan: ReasoningPlan) -> None:
        self._plan = plan
        self._state: Literal["start", "reasoning", "gap", "answer"]
        self._state = "reasoning" if plan.opened else "start"
        self._buffer = ""
        self._blank = True  # no reasoning but white space so far

    def feed(self, text: str) -> list[Part]:
        """What the text's next piece makes certain."""
        self._buffer += text
        told: list[Part] = []
        while self._advance(told):
            pass
        return told

    def finish(self) -> list[Part]:
        """What is left at the text's end."""
        told: list[Part] = []
        if self._state == "start" and self._buffer:
            told.append(Answer(self._buffer))
        elif self._state == "reasoning":
            self._tell(told, self._buffer)
        elif self._state == "gap":
            self._verbatim(told, len(self._buffer))
        self._buffer = ""
        return told

    def _advance(self, told: list[Part]) -> bool:
        """One step; False when more text is needed."""
        if self._state == "start":
            return self._take_start(told)
        if self._state == "reasoning":
            return self._take_reasoning(told)
        if self._state == "gap":
            return self._take_gap(told)
        if self._buffer:
            told.append(Answer(self._buffer))
            self._buffer = ""
        return False

    def _take_start(self, told: list[Part]) -> bool:
        mark = self._plan.marks.open
        begun = self._buffer if self._plan.exact else self._buffer.lstrip()
        if begun.startswith(mark):
            self._state = "reasoning"
            self._verbatim(told, len(self._buffer) - len(begun) + len(mark))
            return True
        if mark.startswith(begun):
            return False
        self._state = "answer"
        return True

    def _take_reasoning(self, told: list[Part]) -> bool:
        mark = self._plan.marks.close
        found = self._buffer.find(mark)
        if found >= 0:
            self._tell(told, self._buffer[:found])
            self._buffer = self._buffer[found:]
            self._verbatim(told, len(mark))
            self._state = "gap"
            return True
        ready = self._buffer[: len(self._buffer) - _held(self._buffer, mark)]
        if self._plan.separate:
            ready = ready.rstrip()
        if ready:
            self._tell(told, ready)
            self._buffer = self._buffer[len(ready) :]
        return False

    def _take_gap(self, told: list[Part]) -> bool:
        if self._plan.exact:
            if GAP.startswith(self._buffer) and self._buffer != GAP:
                return False
            length = len(GAP) if self._buffer.startswith(GAP) else 0
        else:
            length = len(self._buffer) - len(self._buffer.lstrip())
        self._verbatim(told, length)
        if self._buffer or self._plan.exact:
            self._state = "answer"
        return bool(self._buffer)

    def _tell(self, told: list[Part], text: str) -> None:
        if not self._plan.separate:
            if text:
                told.append(Verbatim(text))
            return
        text = text.rstrip()
        if self._blank:
            text = text.lstrip()
        if text:
            self._blank = False
            told.append(Reasoning(text))

    def _verbatim(self, told: list[Part], length: int) -> None:
        """Takes what is no reasoning itself."""
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        if taken and not self._plan.separate:
            told.append(Verbatim(taken))


def _held(text: str, mark: str) -> int:
    """Characters at the text's end that may begin a mark."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0

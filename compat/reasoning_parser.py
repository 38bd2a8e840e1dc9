"""`sglang.srt.parser.reasoning_parser`: reasoning told from the answer, whole or as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from ..frontend_lang.reasoning import FORMATS, Part, Splitter, reasoning_format, split
from ..frontend_lang.where import caller


class ReasoningParser:
    """One answer's parser. stream_reasoning=False gives the reasoning in one piece, at its end.
    force_reasoning: whether the text begins inside the reasoning; None: as the model type has it.
    """

    DetectorMap: ClassVar = FORMATS

    def __init__(
        self,
        model_type: str | None = None,
        stream_reasoning: bool = True,
        force_reasoning: bool | None = None,
    ) -> None:
        form = reasoning_format(model_type, caller())
        self.detector = form if force_reasoning is None else replace(form, forced=force_reasoning)
        self._stream = stream_reasoning
        self._splitter = Splitter(self.detector)
        self._thought = ""

    def parse_non_stream(self, full_text: str) -> tuple[str, str]:
        """(reasoning, answer) of a whole text."""
        return split(self.detector, full_text)

    def parse_stream_chunk(self, chunk_text: str) -> tuple[str, str]:
        """(reasoning, answer) that the next piece makes certain."""
        return self._told(self._splitter.feed(chunk_text), last=False)

    def parse_stream_end(self) -> tuple[str, str]:
        """What was held back."""
        return self._told(self._splitter.finish(), last=True)

    def _told(self, parts: Sequence[Part], *, last: bool) -> tuple[str, str]:
        answer = "".join(part.text for part in parts if part.kind == "answer")
        self._thought += "".join(part.text for part in parts if part.kind == "reasoning")
        if not self._stream and not answer and not last:
            return "", ""
        thought, self._thought = self._thought, ""
        return thought, answer


__all__ = ["ReasoningParser"]

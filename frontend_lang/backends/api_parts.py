"""The nouns of a remote API's backend: a request, and what comes back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ...types import FinishReason, TokenLogprob
from .base import Call
from .stop_strings import Cutter


@dataclass
class Usage:
    """Tokens as the API bills them: of prompts (`cached` of them had been computed before), and of
    answers; requests that were sent."""

    prompt: int = 0
    cached: int = 0
    generated: int = 0
    requests: int = 0

    def add(self, other: Usage) -> None:
        """Count another's, too."""
        for name, number in asdict(other).items():
            setattr(self, name, getattr(self, name) + number)


@dataclass
class Answer:
    """One sample, as far as it is known."""

    text: str = ""
    finish_reason: FinishReason = "stop"
    matched_stop: str | None = None
    logprobs: list[TokenLogprob] | None = None


@dataclass
class Reply:
    """What one request came to."""

    answers: list[Answer]
    usage: Usage = field(default_factory=Usage)


@dataclass
class Delta:
    """What is new in a stream."""

    text: str = ""
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    matched_stop: str | None = None
    usage: Usage | None = None


@dataclass
class Ask:
    """A request: its fields; stop strings that are looked for here, since the API does not take
    them; begun: how the message begins that is asked for as a whole; wrapped: the value asked for
    is inside an object (api_formats.py)."""

    call: Call
    fields: dict[str, Any]
    cuts: tuple[str, ...] = ()
    begun: str = ""
    wrapped: bool = False


class Growing:
    """An answer that comes in pieces, up to a stop string that is looked for here."""

    def __init__(self, ask: Ask) -> None:
        self.answer = Answer()
        self.usage = Usage()
        self._pieces = 0
        self._cutter = Cutter(ask.cuts)

    @property
    def ended(self) -> bool:
        """Whether a stop string was found."""
        return self._cutter.found is not None

    def take(self, delta: Delta) -> str:
        """What is new of the text, as far as it is settled."""
        answer, text = self.answer, self._cutter.feed(delta.text)
        answer.text += text
        self._pieces += bool(delta.text)
        if delta.logprobs is not None:
            answer.logprobs = (answer.logprobs or []) + delta.logprobs
        if delta.finish_reason is not None:
            answer.finish_reason, answer.matched_stop = delta.finish_reason, delta.matched_stop
        if delta.usage is not None:
            self.usage.add(delta.usage)
        if self.ended:
            answer.finish_reason, answer.matched_stop = "stop", self._cutter.found
        return text

    def finish(self) -> str:
        """No more will come: the text that was held back. An API tells the tokens of an answer at
        its end; of one that ends here each piece counts as one."""
        if self.ended and not self.usage.generated:
            self.usage.generated = self._pieces
        rest = self._cutter.finish()
        self.answer.text += rest
        return rest

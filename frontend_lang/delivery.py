"""What a streamed gen hands to its followers: texts with what is known of their tokens.

Every piece has a text. Tokens that come without one (half a character, a tag that is not whole yet)
are told with the next piece that has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..types import Chunk
from .reasoning import Kind, Part, ReasoningFormat, Splitter
from .variables import Feed, Variable

Meta = dict[str, Any]
_LISTS = ("token_ids", "output_token_logprobs", "output_top_logprobs")


class Delivery:
    """One gen's pieces. tell: the meta information of a chunk. said: the state's own feed, which
    gets what the state holds: the answer, without its reasoning. skip: characters at the beginning
    that were said before (healing.py)."""

    def __init__(
        self,
        variable: Variable,
        said: Feed | None,
        tell: Callable[[Chunk], Meta],
        form: ReasoningFormat | None,
        skip: int = 0,
    ) -> None:
        self._skip = skip
        self._tell = tell
        self._said = said
        self._splitter = None if form is None else Splitter(form)
        self._feeds: dict[Kind, Feed] = {"answer": variable.feed}
        if variable.reasoning is not None:
            self._feeds["reasoning"] = variable.reasoning.feed
        self._waiting: Meta | None = None

    def chunk(self, chunk: Chunk) -> None:
        """Pass on a piece of the result."""
        meta = self._tell(chunk)
        if self._waiting is not None:
            for name in _LISTS:
                if name in meta:
                    meta[name] = self._waiting[name] + meta[name]
        self._waiting = meta
        text = chunk.text[self._skip :]
        self._skip = max(0, self._skip - len(chunk.text))
        if self._splitter is None:
            self._put([Part("answer", text)] if text else [])
        else:
            self._put(self._splitter.feed(text))

    def finish(self) -> None:
        """No piece will follow."""
        if self._splitter is not None:
            self._put(self._splitter.finish())

    def _put(self, parts: list[Part]) -> None:
        for kind, text in parts:
            meta, self._waiting = self._waiting, None
            self._feeds[kind].put(text, meta)
            if kind == "answer" and self._said is not None:
                self._said.put(text)

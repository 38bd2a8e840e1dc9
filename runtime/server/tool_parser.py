"""Tells content from tool calls while a text comes in, piece by piece.

Whatever the pieces, joined they give what the whole text gives: `feed` holds back only what may yet
turn out to be the beginning of a call. Arguments are passed on as the model wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .answer_pieces import Arguments, CallBegins, Content, Piece
from .tool_formats import ToolFormat
from .tool_parameters import ParameterReader

_GAP = " \t\r\n;"  # between calls: no content


class JsonObject:
    """Passes a JSON object on, up to its end."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False

    def feed(self, text: str) -> tuple[str, str | None]:
        """What of this next piece belongs to the object; and what follows it, once it has ended."""
        end = self._end(text)
        return (text, None) if end is None else (text[:end], text[end:])

    def _end(self, text: str) -> int | None:
        for place, character in enumerate(text):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return place + 1
        return None


class ToolParser:
    """See the module's docstring. in_calls: the text begins behind the trigger. either: it is calls
    from its beginning, or has none. texts: by tool, the parameters that stand as plain text."""

    def __init__(
        self,
        form: ToolFormat,
        names: Sequence[str],
        *,
        in_calls: bool = False,
        either: bool = False,
        texts: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self._form = form
        self._texts = texts or {}
        self._either = either
        first = {form.open + form.head(name): name for name in names}
        self._first: dict[str, str | None] = dict(first)
        if form.token:
            self._first |= {" " + head: name for head, name in first.items()}
        self._next: dict[str, str | None] = {}
        if form.close:
            behind = {form.between + form.head(name): name for name in names}
            self._next = {form.end + head: name for head, name in behind.items()}
            self._next[form.end + form.close] = None
        else:
            self._next[form.end] = None
        # What may come; None: free text.
        self._options = self._first if in_calls or either else None
        self._only_content = False
        self._arguments: JsonObject | ParameterReader | None = None
        self._buffer = ""
        self._in_gap = True  # nothing but white space since the start, or since a call
        self.calls = 0

    @property
    def in_stages(self) -> bool:
        """Whether it reads calls alone, which a special token begins."""
        return self._form.token

    def feed(self, text: str) -> list[Piece]:
        """What the text's next piece makes certain."""
        self._buffer += text
        pieces: list[Piece] = []
        while self._advance(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """What is left at the text's end."""
        left, self._buffer = self._buffer, ""
        if self._arguments is not None:
            return []  # no more of them is certain
        if not left or (self.calls and not left.strip(_GAP)):
            return []
        if self._options is self._next:
            return []  # a call's end, cut short
        return [Content(left)]

    def _advance(self, pieces: list[Piece]) -> bool:
        """One step; False when more text is needed."""
        if self._arguments is not None:
            return self._take_arguments(pieces)
        if self._options is not None:
            return self._take_head(pieces)
        return self._take_content(pieces)

    def _take_arguments(self, pieces: list[Piece]) -> bool:
        assert self._arguments is not None
        if not self._buffer:
            return False
        told, rest = self._arguments.feed(self._buffer)
        self._buffer = rest or ""
        if told:
            pieces.append(Arguments(self.calls - 1, told))
        if rest is None:
            return False
        self._arguments, self._options = None, self._next
        return True

    def _take_head(self, pieces: list[Piece]) -> bool:
        assert self._options is not None
        for head, name in self._options.items():
            if self._buffer.startswith(head):
                self._buffer = self._buffer[len(head) :]
                self._options = None
                self._in_gap = True
                if name is not None:
                    pieces.append(CallBegins(self.calls, name))
                    self.calls += 1
                    self._arguments = self._reader(name)
                return True
        if any(head.startswith(self._buffer) for head in self._options):
            return False
        # No call after all.
        self._options, self._in_gap = None, False
        self._only_content = self._either and not self.calls
        pieces.append(Content(self._buffer[:1]))
        self._buffer = self._buffer[1:]
        return True

    def _reader(self, tool: str) -> JsonObject | ParameterReader:
        if self._form.parameters is None:
            return JsonObject()
        return ParameterReader(self._form.parameters, self._texts.get(tool, frozenset()))

    def _take_content(self, pieces: list[Piece]) -> bool:
        if self._only_content:
            if self._buffer:
                pieces.append(Content(self._buffer))
                self._buffer = ""
            return False
        found = self._buffer.find(self._form.trigger) if not self._form.token else -1
        if found >= 0:
            before = self._buffer[:found]
            if before and not (self._in_gap and not before.strip(_GAP)):
                pieces.append(Content(before))
            self._buffer = self._buffer[found:]
            self._options = self._first
            return True
        ready = len(self._buffer) - self._held()
        if self._in_gap and not self._buffer[:ready].strip(_GAP):
            return False
        if ready:
            self._in_gap = False
            pieces.append(Content(self._buffer[:ready]))
            self._buffer = self._buffer[ready:]
        return False

    def _held(self) -> int:
        """Characters at the buffer's end that may begin a trigger."""
        if self._form.token:
            return 0
        trigger = self._form.trigger
        for length in range(min(len(trigger) - 1, len(self._buffer)), 0, -1):
            if self._buffer.endswith(trigger[:length]):
                return length
        return 0

"""Control tokens that a message's text spells stay text when the chat is encoded.

Each one found in a message, in a value or a key, is fenced between two characters that occur
nowhere in the chat; after rendering, what still stands between fences is encoded as text, and the
fences are dropped, also where a template's JSON in ASCII spelled them as escapes. A template that
cuts a message up leaves single fences, which still keep the halves apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ..errors import InvalidRequestError

_CANDIDATES = [chr(code) for code in range(0xE000, 0xF900)]

_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")


def _escaped(character: str) -> str:
    """As JSON in ASCII spells it."""
    return f"\\u{ord(character):04x}"


class Fence:
    """Fences the strings `tokens` inside messages; `split` takes a rendering apart. cut: a third
    character that occurs nowhere in the chat."""

    def __init__(self, tokens: Iterable[str], chat: Any) -> None:
        longest_first = sorted(tokens, key=len, reverse=True)
        self._tokens = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        said = "".join(_strings(chat))
        used, spelled = set(said), set(_ESCAPE.findall(said))
        unused = (c for c in _CANDIDATES if c not in used and _escaped(c) not in spelled)
        free = list(islice(unused, 3))
        if len(free) < 3:
            raise InvalidRequestError(
                "the messages use every private-use character of Unicode", where="messages"
            )
        self._start, self._end, self.cut = free

    def put(self, value: Any) -> Any:
        """`value` (JSON) with every string's control tokens fenced, and every key's but those that
        are plain words, by which templates look things up."""
        if isinstance(value, str):
            return self._tokens.sub(lambda m: f"{self._start}{m[0]}{self._end}", value)
        if isinstance(value, Mapping):
            return {self._put_key(key): self.put(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.put(item) for item in value]
        return value

    def _put_key(self, key: Any) -> Any:
        return key if isinstance(key, str) and key.isidentifier() else self.put(key)

    def split(self, text: str) -> Iterator[tuple[str, bool]]:
        """The rendering's pieces, each with whether its control tokens are real."""
        start, end = (f"(?:{c}|{re.escape(_escaped(c))})" for c in (self._start, self._end))
        fences = f"{start}|{end}"
        fenced = f"{start}({self._tokens.pattern}){end}"
        pieces = re.split(f"{fenced}|{fences}", text)
        for place, piece in enumerate(pieces):
            if piece:
                yield piece, place % 2 == 0


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)

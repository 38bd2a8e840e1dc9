"""Whether a text is in a grammar, and if not, where it dies and what was allowed there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .matcher import Matcher

_SHOWN = 60  # characters of the text around the caret
_NAMES = {" ": "space", "\n": "line end", "\t": "tab", "\r": "carriage return"}


class Verdict(msgspec.Struct, frozen=True):
    """accepted: the whole text is in the grammar. at: characters that could be read; the text's
    length where it is accepted, or could go on. allowed: what could come next there, in words:
    characters, ranges of them, and "the end". picture: the line with a caret under the place."""

    accepted: bool
    at: int
    allowed: list[str]
    picture: str

    def __str__(self) -> str:
        if self.accepted:
            return "accepted"
        return f"{self.picture}\nexpected {' or '.join(self.allowed)}"


def explain(matcher: Matcher, text: str) -> Verdict:
    """Reads `text` from where the matcher stands, which it leaves there."""
    at, here = 0, matcher
    for char in text:
        following = here.copy()
        if not following.accept_bytes(char.encode()):
            break
        at, here = at + 1, following
    accepted = at == len(text) and here.can_end
    allowed = [] if accepted else _allowed(here)
    return Verdict(accepted, at, allowed, "" if accepted else _picture(text, at))


def _allowed(matcher: Matcher) -> list[str]:
    """What may come next: characters of one byte each, then the others, then the end."""
    single = [chr(byte) for byte in range(128) if matcher.copy().accept_bytes(bytes([byte]))]
    words = []
    start = 0
    while start < len(single):
        stop = start
        while stop + 1 < len(single) and _follows(single[stop], single[stop + 1]):
            stop += 1
        run = single[start : stop + 1]
        if len(run) > 3:
            words.append(f"{_name(run[0])} to {_name(run[-1])}")
        else:
            words.extend(map(_name, run))
        start = stop + 1
    if any(matcher.copy().accept_bytes(bytes([byte])) for byte in range(0xC2, 0xF5)):
        words.append("a character beyond ASCII")
    if matcher.can_end:
        words.append("the end")
    return words


def _follows(one: str, other: str) -> bool:
    """Next to each other, and of one kind."""
    kinds = (str.isdigit, str.isupper, str.islower)
    return ord(other) == ord(one) + 1 and [k(one) for k in kinds] == [k(other) for k in kinds]


def _name(char: str) -> str:
    if char in _NAMES:
        return _NAMES[char]
    return repr(char) if char.isprintable() else f"U+{ord(char):04X}"


def _picture(text: str, at: int) -> str:
    """The text's line around `at`, and a caret under it."""
    start = max(text.rfind("\n", 0, at) + 1, at - _SHOWN)
    end = text.find("\n", at)
    line = text[start : min(len(text) if end < 0 else end, at + _SHOWN // 2)]
    before = "..." if start and text[start - 1] != "\n" else ""
    return f"{before}{line}\n{' ' * (len(before) + at - start)}^"

"""The values inside a JSON text, each as soon as it is complete, while the text comes in.

A value is complete with its last character; a number, with the character behind it or the text's
end. Parts come in the order of their ends: the members of an object before the object.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import ProgramError

_BLANK = " \t\r\n"
_BARE = "-+.0123456789eEtrufalsn"  # what numbers, true, false and null are made of


@dataclass(frozen=True)
class JsonPart:
    """A complete value, and where it stands: keys and indices from the root, which is ()."""

    path: tuple[str | int, ...]
    value: Any

    @property
    def pointer(self) -> str:
        """The path as errors write it: `$.people[2].name`."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return "$" + "".join(steps)


class JsonParts:
    """See the module's docstring. Raises ProgramError, with the character, where the text is no
    JSON."""

    def __init__(self) -> None:
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | int] = []
        self._expects = "value"  # value, first (or the end), key, colon, comma, end
        self._scalar = ""
        self._escaped = False
        self._at = 0

    def feed(self, text: str) -> list[JsonPart]:
        """The values that the next piece of the text completes."""
        parts: list[JsonPart] = []
        for character in text:
            self._take(character, parts)
            self._at += 1
        return parts

    def finish(self) -> list[JsonPart]:
        """The text has ended: a number at its end is complete."""
        parts: list[JsonPart] = []
        if self._scalar and self._scalar[0] != '"':
            self._complete_scalar(parts)
        if self._expects != "end":
            self._wrong("the end of the text")
        return parts

    def _take(self, character: str, parts: list[JsonPart]) -> None:
        if self._scalar and self._scalar[0] == '"':
            self._in_string(character, parts)
            return
        if self._scalar:
            if character in _BARE:
                self._scalar += character
                return
            self._complete_scalar(parts)
        if character in _BLANK:
            return
        if character in "}]" and self._expects in ("first", "comma") and self._open:
            self._close(character, parts)
        elif character == "," and self._expects == "comma":
            self._expects = "key" if isinstance(self._open[-1], dict) else "value"
        elif character == ":" and self._expects == "colon":
            self._expects = "value"
        elif character == '"' and self._wants_key():
            self._scalar = character
        elif self._expects == "value" or (self._expects == "first" and not self._wants_key()):
            self._begin(character)
        else:
            self._wrong(repr(character))

    def _wants_key(self) -> bool:
        """Whether what comes next is a member's name."""
        inside = bool(self._open) and isinstance(self._open[-1], dict)
        return inside and self._expects in ("first", "key")

    def _begin(self, character: str) -> None:
        if character in "{[":
            self._open.append({} if character == "{" else [])
            self._keys.append(0)
            self._expects = "first"
        elif character == '"' or character in _BARE:
            self._scalar = character
        else:
            self._wrong(repr(character))

    def _in_string(self, character: str, parts: list[JsonPart]) -> None:
        self._scalar += character
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._complete_scalar(parts)

    def _complete_scalar(self, parts: list[JsonPart]) -> None:
        try:
            value = json.loads(self._scalar)
        except ValueError:
            self._wrong(repr(self._scalar[:40]))
        self._scalar = ""
        if self._wants_key():
            self._keys[-1] = value
            self._expects = "colon"
        else:
            self._complete(value, parts)

    def _close(self, character: str, parts: list[JsonPart]) -> None:
        if (character == "}") != isinstance(self._open[-1], dict):
            self._wrong(repr(character))
        value = self._open.pop()
        self._keys.pop()
        self._complete(value, parts)

    def _complete(self, value: Any, parts: list[JsonPart]) -> None:
        parts.append(JsonPart(tuple(self._keys), value))
        if not self._open:
            self._expects = "end"
            return
        holder, key = self._open[-1], self._keys[-1]
        if isinstance(holder, dict):
            holder[str(key)] = value
        else:
            holder.append(value)
            self._keys[-1] = len(holder)
        self._expects = "comma"

    def _wrong(self, got: str) -> NoReturn:
        wanted = {"first": "a value or the end", "comma": "a comma or the end"}
        raise ProgramError(
            "the text is no JSON",
            expected=wanted.get(self._expects, self._expects),
            got=f"{got} at character {self._at}",
            hint="Give the gen a type or a json_schema.",
        )

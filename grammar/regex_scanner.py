"""The lexical level of regular expressions: characters, escapes and sets.

A `Scanner` walks one pattern; `options` are the flags in force where it stands.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from ..errors import GrammarError
from . import charsets
from .charsets import Ranges

MAX_COUNT = 1 << 31
_HEX = "0123456789abcdefABCDEF"
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a"}


@dataclass(frozen=True)
class Options:
    """dialect: whose syntax. The others are the regex's own flags."""

    dialect: Literal["python", "ecma"]
    ascii: bool = False
    ignore_case: bool = False
    dot_all: bool = False
    multiline: bool = False
    verbose: bool = False


class Scanner:
    """A place in one pattern. Raises GrammarError whose `where` is `column N` (from 1)."""

    def __init__(self, text: str, options: Options) -> None:
        self.text = text
        self.pos = 0
        self.options = options

    # -- characters --------------------------------------------------------------------------------

    def peek(self) -> str:
        """The next character, "" at the end."""
        return self.text[self.pos : self.pos + 1]

    def take(self, char: str) -> bool:
        if self.peek() == char:
            self.pos += 1
            return True
        return False

    def skip_verbose(self) -> None:
        while self.options.verbose and self.peek():
            if self.peek().isspace():
                self.pos += 1
            elif self.peek() == "#":
                end = self.text.find("\n", self.pos)
                self.pos = len(self.text) if end < 0 else end + 1
            else:
                return

    def error(self, what: str, column: int | None = None, hint: str | None = None) -> GrammarError:
        place = self.pos + 1 if column is None else column
        return GrammarError(f"regex: {what}", where=f"column {place}", hint=hint)

    def digits(self) -> str:
        start = self.pos
        while self.peek() in "0123456789" and self.peek():
            self.pos += 1
        if self.pos - start > 12:
            raise self.error(f"a count above {MAX_COUNT}", start + 1)
        return self.text[start : self.pos]

    def folded(self, ranges: Ranges) -> Ranges:
        if not self.options.ignore_case:
            return ranges
        return charsets.fold(ranges, ascii=self.options.ascii)

    # -- escapes ---

    def class_escape(self, column: int) -> Ranges | None:
        """The set of `\\d`, `\\p{..}` and the like, read; None when another escape follows."""
        char = self.peek()
        if char and char in "dDwWsS":
            self.pos += 1
            ecma = self.options.dialect == "ecma"
            if char.isupper():
                ascii = self.options.ascii and not ecma
                return charsets.negate(charsets.named(char.lower(), ascii=ascii, ecma=ecma))
            return charsets.named(char, ascii=self.options.ascii, ecma=ecma)
        if char and char in "pP":
            self.pos += 1
            name = self._property_name(column)
            ranges = charsets.property_ranges(name)
            if ranges is None:
                raise self.error(
                    f"the Unicode property {name!r}",
                    column,
                    hint="General categories are known (L, Lu, Nd, Letter, ...), Any and ASCII.",
                )
            return charsets.negate(ranges) if char == "P" else ranges
        return None

    def _property_name(self, column: int) -> str:
        if self.take("{"):
            end = self.text.find("}", self.pos)
            if end < 0:
                raise self.error("a \\p{ that is never closed", column)
            name = self.text[self.pos : end]
            self.pos = end + 1
            return name
        name = self.peek()
        self.pos += 1
        return name

    def char_escape(self, column: int, *, in_set: bool) -> str:
        """One character's escape, read up to its end."""
        python = self.options.dialect == "python"
        char = self.peek()
        self.pos += 1
        if not char:
            raise self.error("a pattern that ends in a backslash", column)
        if char in _CONTROL and (python or char != "a"):
            return _CONTROL[char]
        if char == "b" and in_set:
            return "\b"
        if char in "xuU" and (python or char != "U"):
            return self._hex_escape(char, column)
        if char == "c" and not python and self.peek().isascii() and self.peek().isalpha():
            self.pos += 1
            return chr(ord(self.text[self.pos - 1]) % 32)
        if char == "N" and python:
            return self._named_character(column)
        if char in "01234567" and (python or char == "0"):
            self.pos -= 1
            return self._octal(column)
        if char.isascii() and char.isalnum():
            raise self.error(f"the escape \\{char}", column)
        return char

    def _octal(self, column: int) -> str:
        start = self.pos
        limit = 3 if self.options.dialect == "python" else 1
        while self.pos - start < limit and self.peek() in "01234567" and self.peek():
            self.pos += 1
        value = int(self.text[start : self.pos], 8)
        if value > 0o377 or (limit == 1 and self.peek() in "0123456789" and self.peek()):
            raise self.error("an octal escape", column, hint="Write \\xHH.")
        return chr(value)

    def _hex_escape(self, kind: str, column: int) -> str:
        if kind == "u" and self.options.dialect == "ecma" and self.take("{"):
            end = self.text.find("}", self.pos)
            digits = self.text[self.pos : end] if end >= 0 else ""
            self.pos = end + 1
        else:
            width = {"x": 2, "u": 4, "U": 8}[kind]
            digits = self.text[self.pos : self.pos + width]
            self.pos += width
            if len(digits) < width:
                digits = ""
        if not digits or len(digits) > 8 or any(d not in _HEX for d in digits):
            raise self.error(f"an incomplete escape \\{kind}", column)
        point = int(digits, 16)
        paired = self.options.dialect == "ecma" and 0xD800 <= point <= 0xDBFF
        if paired and self.text.startswith("\\u", self.pos):
            low = self.text[self.pos + 2 : self.pos + 6]
            if len(low) == 4 and all(d in _HEX for d in low) and 0xDC00 <= int(low, 16) <= 0xDFFF:
                self.pos += 6
                point = 0x10000 + ((point - 0xD800) << 10) + int(low, 16) - 0xDC00
        if point > charsets.LAST:
            raise self.error("a code point above U+10FFFF", column)
        return chr(point)

    def _named_character(self, column: int) -> str:
        end = self.text.find("}", self.pos)
        if not self.take("{") or end < 0:
            raise self.error("an incomplete escape \\N", column)
        name = self.text[self.pos : end]
        self.pos = end + 1
        try:
            return unicodedata.lookup(name)
        except KeyError:
            raise self.error(f"the character name {name!r}", column) from None

    # -- sets --------------------------------------------------------------------------------------

    def set(self, column: int) -> Ranges:
        negated = self.take("^")
        parts: list[tuple[int, int]] = []
        first = self.options.dialect == "python"
        while first or self.peek() != "]":
            if not self.peek():
                raise self.error("a [ that is never closed", column)
            first = False
            parts.extend(self._set_item())
        self.pos += 1
        # Folding comes before negation: [^a] with the flag i excludes A too.
        ranges = self.folded(charsets.union(parts))
        return charsets.negate(ranges) if negated else ranges

    def _set_item(self) -> Ranges:
        column = self.pos + 1
        low = self._set_char()
        ahead = self.text[self.pos : self.pos + 2]
        if len(ahead) < 2 or ahead[0] != "-" or ahead[1] == "]":
            return low if isinstance(low, tuple) else ((low, low),)
        self.pos += 1
        high = self._set_char()
        if isinstance(low, tuple) or isinstance(high, tuple) or high < low:
            raise self.error("a range in a set whose ends are not in order", column)
        return ((low, high),)

    def _set_char(self) -> Ranges | int:
        column = self.pos + 1
        char = self.peek()
        self.pos += 1
        if char != "\\":
            return ord(char) if char else -1
        ranges = self.class_escape(column)
        return ord(self.char_escape(column, in_set=True)) if ranges is None else ranges

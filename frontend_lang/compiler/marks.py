"""Marks: what stands in a text for a value, while a program is traced.

A mark is made of letters, large and small, between two characters that no text has: `upper()`,
`title()` and their kin change it, which is then seen; a pattern of digits does not find it. Each
trace has marks of its own, so that one which a program kept from another trace is known as such.
"""

from __future__ import annotations

import itertools
import re

from . import ir
from .symbols import BEGIN, END, plain

_TRACES = itertools.count()


class Marks:
    """Those of one trace."""

    def __init__(self) -> None:
        self._name = f"Espalier{_letters(next(_TRACES))}X"
        self._split = re.compile(f"{BEGIN}{self._name}([a-z]+){END}")
        self._slots: list[ir.Slot] = []
        self._numbers: dict[ir.Slot, int] = {}

    def of(self, slot: ir.Slot) -> str:
        """Text that stands for the slot."""
        number = self._numbers.setdefault(slot, len(self._slots))
        if number == len(self._slots):
            self._slots.append(slot)
        return f"{BEGIN}{self._name}{_letters(number)}{END}"

    def within(self, text: str) -> bool:
        """Whether there is one in the text, whole or not."""
        return self._name in plain(text)

    def pieces(self, text: str) -> tuple[ir.Piece, ...] | None:
        """Text as strings and slots; None where there is a mark that is none of this trace's."""
        found: list[ir.Piece] = []
        for at, part in enumerate(self._split.split(plain(text))):
            if at % 2:
                found.append(self._slots[_number(part)])
            elif self._name in part or BEGIN in part or END in part:
                return None
            elif part:
                found.append(part)
        return tuple(found)


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _number(letters: str) -> int:
    return int("".join(str(ord(letter) - ord("a")) for letter in letters))

"""Sets of code points as sorted, disjoint, inclusive ranges, and the named ones regexes use.

Unicode's own tables come from the running Python: `re` for `\\d \\w \\s` and for case folding (so
that they are its to the letter), `unicodedata` for general categories.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

Ranges = tuple[tuple[int, int], ...]

LAST = 0x10FFFF
ANY: Ranges = ((0, LAST),)
NEWLINE: Ranges = ((10, 10),)

# Long names of general categories, as UTS 18 and ECMA-262 spell them.
_CATEGORIES = {
    "L": "Letter", "LC": "Cased_Letter", "Lu": "Uppercase_Letter", "Ll": "Lowercase_Letter",
    "Lt": "Titlecase_Letter", "Lm": "Modifier_Letter", "Lo": "Other_Letter",
    "M": "Mark", "Mn": "Nonspacing_Mark", "Mc": "Spacing_Mark", "Me": "Enclosing_Mark",
    "N": "Number", "Nd": "Decimal_Number", "Nl": "Letter_Number", "No": "Other_Number",
    "P": "Punctuation", "Pc": "Connector_Punctuation", "Pd": "Dash_Punctuation",
    "Ps": "Open_Punctuation", "Pe": "Close_Punctuation", "Pi": "Initial_Punctuation",
    "Pf": "Final_Punctuation", "Po": "Other_Punctuation",
    "S": "Symbol", "Sm": "Math_Symbol", "Sc": "Currency_Symbol", "Sk": "Modifier_Symbol",
    "So": "Other_Symbol", "Z": "Separator", "Zs": "Space_Separator", "Zl": "Line_Separator",
    "Zp": "Paragraph_Separator", "C": "Other", "Cc": "Control", "Cf": "Format",
    "Cs": "Surrogate", "Co": "Private_Use", "Cn": "Unassigned",
}  # fmt: skip
_SHORT = {long.lower(): short for short, long in _CATEGORIES.items()}


def union(*sets: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted, merged (adjacent ranges too)."""
    merged: list[list[int]] = []
    for low, high in sorted(pair for ranges in sets for pair in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    return tuple((low, high) for low, high in merged)


def negate(ranges: Ranges) -> Ranges:
    """Every code point that is not in `ranges` (sorted and disjoint)."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for low, high in ranges:
        if low > start:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        gaps.append((start, LAST))
    return tuple(gaps)


def intersect(one: Ranges, other: Ranges) -> Ranges:
    return negate(union(negate(one), negate(other)))


def _runs(text: str, pattern: str) -> Ranges:
    """Ranges of the code points of `text` (consecutive ones, from 0) that match `pattern`."""
    return tuple((m.start(), m.end() - 1) for m in re.finditer(f"(?:{pattern})+", text))


@cache
def _code_points(end: int) -> str:
    """All code points below `end` in order, surrogates included."""
    import numpy as np

    return np.arange(end, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")


@cache
def named(letter: str, *, ascii: bool, ecma: bool = False) -> Ranges:
    """The class of `\\d`, `\\w` or `\\s`.

    ascii: ASCII members only. ecma: as ECMA-262 has it (`\\d` and `\\w` are ASCII there, `\\s` adds
    U+FEFF and lacks the information separators).
    """
    if ecma:
        if letter == "s":
            spaces = union(
                ((9, 13), (32, 32), (160, 160), (0x1680, 0x1680), (0x2000, 0x200A)),
                ((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F)),
                ((0x3000, 0x3000), (0xFEFF, 0xFEFF)),
            )
            return intersect(spaces, ((0, 127),)) if ascii else spaces
        ascii = True
    if ascii:
        return _runs("".join(map(chr, range(128))), f"(?a:\\{letter})")
    # Planes 4 to 16 hold no letter, digit or space (a test compares with all of Unicode).
    return _runs(_code_points(0x40000), f"\\{letter}")


@cache
def _categories() -> dict[str, list[tuple[int, int]]]:
    table: dict[str, list[tuple[int, int]]] = {}
    start, current = 0, "Cc"
    for point, char in enumerate(_code_points(LAST + 1)):
        category = unicodedata.category(char)
        if category != current:
            table.setdefault(current, []).append((start, point - 1))
            start, current = point, category
    table.setdefault(current, []).append((start, LAST))
    return table


@cache
def property_ranges(name: str) -> Ranges | None:
    """The code points of `\\p{name}`: a general category (`Lu`, `L`, `Letter`, `gc=Lu`), `Any`,
    `ASCII` or `Assigned`; None for a name that is not known."""
    key, _, value = name.rpartition("=")
    if key and key.lower() not in ("gc", "general_category"):
        return None
    plain = value.strip().replace(" ", "_").replace("-", "_")
    if not key and plain.lower() in ("any", "ascii", "assigned"):
        if plain.lower() == "assigned":
            return negate(union(_categories()["Cn"]))
        return ANY if plain.lower() == "any" else ((0, 127),)
    short = plain if plain in _CATEGORIES else _SHORT.get(plain.lower())
    if short is None:
        return None
    parts = ["Lu", "Ll", "Lt"] if short == "LC" else [short]
    return union(
        *(
            ranges
            for category, ranges in _categories().items()
            if any(category.startswith(part) for part in parts)
        )
    )


@cache
def _cased() -> str:
    """Every character that has another case, in order."""
    return "".join(
        char for char in map(chr, range(0x20000)) if char.lower() != char or char.upper() != char
    )


@cache
def fold(ranges: Ranges, *, ascii: bool) -> Ranges:
    """`ranges` and everything that `re.IGNORECASE` takes for the same letters."""
    if not ranges:
        return ranges
    body = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
    flags = re.IGNORECASE | (re.ASCII if ascii else re.UNICODE)
    same = re.compile(f"[{body}]", flags).findall(_cased())
    return union(ranges, ((ord(char), ord(char)) for char in same))

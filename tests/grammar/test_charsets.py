"""Code point sets against Python's own answers, character by character."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest
from hypothesis import given, settings, strategies as st

from espalier.grammar import charsets

POINTS = st.integers(0, charsets.LAST)
RANGES = st.lists(st.tuples(POINTS, POINTS).map(sorted).map(tuple), max_size=6)


def _has(ranges: charsets.Ranges, point: int) -> bool:
    return any(low <= point <= high for low, high in ranges)


@settings(max_examples=100, deadline=None)
@given(RANGES, RANGES, POINTS)
def test_set_algebra(one: list[tuple[int, int]], other: list[tuple[int, int]], point: int) -> None:
    first, second = charsets.union(one), charsets.union(other)
    ends = [p + d for r in (*one, *other) for p in r for d in (-1, 0, 1)]
    for probe in (point, *(p for p in ends if 0 <= p <= charsets.LAST)):
        assert _has(first, probe) == _has(tuple(one), probe)
        assert _has(charsets.negate(first), probe) != _has(first, probe)
        both = _has(first, probe) and _has(second, probe)
        assert _has(charsets.intersect(first, second), probe) == both
    assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(first))


@pytest.mark.parametrize("letter", ["d", "w", "s"])
@pytest.mark.parametrize("ascii", [False, True])
def test_named_classes_are_those_of_re(letter: str, ascii: bool) -> None:
    pattern = re.compile(f"\\{letter}+", re.ASCII if ascii else 0)
    everything = "".join(map(chr, range(charsets.LAST + 1)))
    expected = tuple((m.start(), m.end() - 1) for m in pattern.finditer(everything))
    assert charsets.named(letter, ascii=ascii) == expected


def test_ecma_classes() -> None:
    assert charsets.named("d", ascii=False, ecma=True) == ((48, 57),)
    assert charsets.named("w", ascii=False, ecma=True) == ((48, 57), (65, 90), (95, 95), (97, 122))
    spaces = charsets.named("s", ascii=False, ecma=True)
    assert _has(spaces, 0xFEFF)
    assert not _has(spaces, 0x1C)
    assert charsets.named("s", ascii=True, ecma=True) == ((9, 13), (32, 32))


@pytest.mark.parametrize("name", ["Lu", "L", "Letter", "gc=Nd", "LC", "Decimal Number", "Cs", "Co"])
def test_properties_are_those_of_unicodedata(name: str) -> None:
    ranges = charsets.property_ranges(name)
    assert ranges is not None
    short = {"Letter": "L", "gc=Nd": "Nd", "Decimal Number": "Nd"}.get(name, name)
    wanted = ("Lu", "Ll", "Lt") if short == "LC" else (short,)
    for point in (*range(0x3000), *range(0xD7F0, 0xE010), *range(0x1D7C0, 0x1D800), 0x10FFFD):
        expected = unicodedata.category(chr(point)).startswith(wanted)
        assert _has(ranges, point) == expected, hex(point)


def test_other_properties() -> None:
    assert charsets.property_ranges("Any") == charsets.ANY
    assert charsets.property_ranges("ASCII") == ((0, 127),)
    assigned = charsets.property_ranges("Assigned")
    assert assigned is not None
    assert not _has(assigned, 0x378)
    for unknown in ("Greek", "Script=Greek", "sc=Latin", "", "Lx"):
        assert charsets.property_ranges(unknown) is None


@pytest.mark.parametrize("char", ["s", "k", "i", "µ", "ß", "Ω", "1", "ǆ", "θ"])
@pytest.mark.parametrize("ascii", [False, True])
def test_folding_is_that_of_re(char: str, ascii: bool) -> None:
    flags = re.IGNORECASE | (re.ASCII if ascii else 0)
    folded = charsets.fold(((ord(char), ord(char)),), ascii=ascii)
    pattern = re.compile(re.escape(char), flags)
    for point in range(0x20000):
        assert _has(folded, point) == (pattern.fullmatch(chr(point)) is not None), hex(point)

"""JSON strings: from a language of decoded strings to the language of their JSON texts.

`escaped` maps a regular term over decoded characters to one over JSON text, character by character:
every character has exactly one canonical spelling, the one `json.dumps` writes. That map is
injective and respects concatenation, so it commutes with `Cat`, `Alt`, `Rep` and `And`; a
complement is taken inside the canonical texts: escaped(Not(x)) = canonical* and not escaped(x).

A string that is free, or bounded only in length, may use every spelling JSON has (`\\/`,
`\\u0041`): decoding is a function, so counting characters stays exact. Lone surrogates are never
written.
"""

from __future__ import annotations

from . import ir

_ANY = ((0, 0xD7FF), (0xE000, 0x10FFFF))
ANY_CHAR = ir.Chars(_ANY)
"""Any one decoded character."""

_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_REST = ((93, 0xD7FF), (0xE000, 0x10FFFF))
_HEX_DIGIT = ir.Chars(((48, 57), (65, 70), (97, 102)))


def canonical_spelling(code: int) -> str | None:
    """The escape of a character that cannot stand raw in JSON, or None."""
    if code in _SHORT:
        return _SHORT[code]
    return f"\\u{code:04x}" if code < 32 else None


class StringText:
    """Terms for JSON strings in one spelling mode (`ascii`: nothing beyond ASCII stands raw)."""

    def __init__(self, *, ascii: bool) -> None:
        self._ascii = ascii
        self._known: dict[ir.Regular, ir.Regular] = {}
        self.canonical_char = self._escaped_chars(_ANY)
        self.any_char = _every_spelling(ascii)
        self.free: ir.Regular = _quoted(ir.Rep(self.any_char, 0, None))
        """Any JSON string, in every spelling."""

    def lengths(self, low: int, high: int | None) -> ir.Regular:
        """Strings of `low` to `high` characters (None: no bound), in every spelling."""
        if low == 0 and high is None:
            return self.free
        return _quoted(ir.Rep(self.any_char, low, high))

    def canonical(self, decoded: ir.Regular) -> ir.Regular:
        """The canonical JSON texts, with quotes, of the strings in `decoded`."""
        return _quoted(self.escaped(decoded))

    def escaped(self, decoded: ir.Regular) -> ir.Regular:
        """The canonical JSON texts, without quotes, of the strings in `decoded`."""
        match decoded:
            case ir.Lit(text):
                return ir.Lit("".join(self._spelling(ord(char)) for char in text))
            case ir.Chars(ranges):
                return self._escaped_chars(ranges)
            case ir.Cat(items):
                return ir.Cat(tuple(map(self.escaped, items)))
            case ir.Alt(items):
                return ir.Alt(tuple(map(self.escaped, items)))
            case ir.Rep(item, low, high):
                return ir.Rep(self.escaped(item), low, high)
            case ir.And(items):
                return ir.And(tuple(map(self.escaped, items)))
            case ir.Not(item):
                every = ir.Rep(self.canonical_char, 0, None)
                return ir.And((every, ir.Not(self.escaped(item))))

    def _spelling(self, code: int) -> str:
        escape = canonical_spelling(code)
        if escape is not None:
            return escape
        if not self._ascii or code < 127:
            return chr(code)
        if code < 0x10000:
            return f"\\u{code:04x}"
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"

    def _escaped_chars(self, ranges: tuple[tuple[int, int], ...]) -> ir.Regular:
        raw: list[tuple[int, int]] = []
        others: list[ir.Regular] = []
        for low, high in ranges:
            for code in [*range(low, min(high, 31) + 1), 34, 92]:
                if low <= code <= high:
                    others.append(ir.Lit(self._spelling(code)))
            for first, last in ((32, 33), (35, 91), (93, 126 if self._ascii else 0x10FFFF)):
                first, last = max(first, low), min(last, high)
                if first <= last:
                    raw.append((first, last))
            if self._ascii and high > 126:
                others.extend(_hex_escapes(max(low, 127), high))
        if raw or not others:
            others.insert(0, ir.Chars(tuple(raw)))
        return others[0] if len(others) == 1 else ir.Alt(tuple(others))


def _quoted(body: ir.Regular) -> ir.Regular:
    if isinstance(body, ir.Lit):
        return ir.Lit(f'"{body.text}"')
    return ir.Cat((ir.Lit('"'), body, ir.Lit('"')))


def _every_spelling(ascii: bool) -> ir.Regular:
    """One decoded character in any of its JSON spellings; surrogates only as pairs."""
    raw = ir.Chars(((32, 33), (35, 91), (93, 126)) if ascii else ((32, 33), (35, 91), *_REST))
    short = ir.Cat((ir.Lit("\\"), ir.Chars(tuple((ord(c), ord(c)) for c in sorted('"\\/bfnrt')))))
    letter_d = ir.Chars(((68, 68), (100, 100)))
    not_surrogate = ir.Alt(
        (
            ir.Cat((ir.Chars(((48, 57), (65, 67), (69, 70), (97, 99), (101, 102))), _hex(3))),
            ir.Cat((letter_d, ir.Chars(((48, 55),)), _hex(2))),
        )
    )
    high = ir.Cat((letter_d, ir.Chars(((56, 57), (65, 66), (97, 98))), _hex(2)))
    low = ir.Cat((letter_d, ir.Chars(((67, 70), (99, 102))), _hex(2)))
    pair = ir.Cat((high, ir.Lit("\\u"), low))
    return ir.Alt((raw, short, ir.Cat((ir.Lit("\\u"), ir.Alt((not_surrogate, pair))))))


def _hex(count: int) -> ir.Regular:
    return ir.Rep(_HEX_DIGIT, count, count)


def _hex_escapes(low: int, high: int) -> list[ir.Regular]:
    """`\\uXXXX` spellings (lower case, pairs beyond the BMP) of code points in [low, high]."""
    found: list[ir.Regular] = []
    for first, last in ((127, 0xD7FF), (0xE000, 0xFFFF)):
        first, last = max(first, low), min(last, high)
        if first <= last:
            found.append(ir.Cat((ir.Lit("\\u"), _hex_range(first, last, 4))))
    first, last = max(low, 0x10000) - 0x10000, high - 0x10000
    while first <= last:
        lead = first >> 10
        if first & 0x3FF == 0 and last >> 10 > lead:
            end_lead = (last + 1 >> 10) - 1  # whole blocks of 1,024 share one trailing range
            stop = (end_lead + 1 << 10) - 1
        else:
            end_lead, stop = lead, min(last, (lead << 10) | 0x3FF)
        trail = (
            (0xDC00, 0xDFFF)
            if end_lead > lead
            else (0xDC00 + (first & 0x3FF), 0xDC00 + (stop & 0x3FF))
        )
        leads = _hex_range(0xD800 + lead, 0xD800 + end_lead, 4)
        found.append(ir.Cat((ir.Lit("\\u"), leads, ir.Lit("\\u"), _hex_range(*trail, 4))))
        first = stop + 1
    return found


def _hex_range(low: int, high: int, width: int) -> ir.Regular:
    """Lower-case hexadecimal numbers of `width` digits in [low, high]."""
    if width == 0:
        return ir.Lit("")
    unit = 16 ** (width - 1)
    first, last = low // unit, high // unit
    if first == last:
        return ir.Cat((_hex_digits(first, first), _hex_range(low % unit, high % unit, width - 1)))
    parts: list[ir.Regular] = []
    if low % unit:
        parts.append(
            ir.Cat((_hex_digits(first, first), _hex_range(low % unit, unit - 1, width - 1)))
        )
        first += 1
    tail: ir.Regular | None = None
    if high % unit != unit - 1:
        tail = ir.Cat((_hex_digits(last, last), _hex_range(0, high % unit, width - 1)))
        last -= 1
    if first <= last:
        rest = ir.Rep(ir.Chars(((48, 57), (97, 102))), width - 1, width - 1)
        parts.append(ir.Cat((_hex_digits(first, last), rest)))
    if tail is not None:
        parts.append(tail)
    return parts[0] if len(parts) == 1 else ir.Alt(tuple(parts))


def _hex_digits(first: int, last: int) -> ir.Chars:
    ranges: list[tuple[int, int]] = []
    if first <= 9:
        ranges.append((48 + first, 48 + min(last, 9)))
    if last >= 10:
        ranges.append((97 + max(first, 10) - 10, 97 + last - 10))
    return ir.Chars(tuple(ranges))

"""GBNF, the grammars of llama.cpp (and XGrammar's EBNF): `name ::= alternatives`, from `root`.

Literals in double quotes with escapes, character classes, `.`, groups, `* + ? {m,n}`, `#` comments.
A rule ends where the next one begins.
Literals and classes that stand side by side, with their repetitions, become one terminal each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import GrammarError
from . import charsets
from .ir import Alt, Cat, Chars, Choice, Expr, GrammarIR, Lit, Loop, Ref, Regular, Rep, Seq, Term

MAX_NESTING = 200
MAX_COUNT = 1_000_000
_BLANK = re.compile(r"(?:\s|#[^\r\n]*)*")
_RULE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\s*::=")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_COUNT = re.compile(r"\{\s*(\d*)\s*(?:(,)\s*(\d*)\s*)?\}")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "0": "\0"} | {
    char: char for char in "\\\"'[]-^"
}


def gbnf_ir(text: str, *, root: str = "root") -> GrammarIR:
    """The grammar of `text`. Raises GrammarError whose `where` is `line N, column M`."""
    parser = _Parser(text)
    rules = parser.rules()
    for name, place in parser.called.items():
        if name not in rules:
            raise parser.error(f"the rule {name!r} is called and not defined", place)
    if root not in rules:
        raise GrammarError(
            expected=f"a rule named {root!r}, where every text begins",
            got=", ".join(list(rules)[:8]) or "no rules",
            where="ebnf",
        )
    return GrammarIR(rules, root)


@dataclass
class _Parser:
    text: str
    pos: int = 0
    depth: int = 0

    def __post_init__(self) -> None:
        self.called: dict[str, int] = {}

    def error(self, what: str, pos: int | None = None, hint: str | None = None) -> GrammarError:
        at = self.pos if pos is None else pos
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        return GrammarError(f"ebnf: {what}", where=f"line {line}, column {column}", hint=hint)

    def skip(self) -> None:
        found = _BLANK.match(self.text, self.pos)
        assert found is not None
        self.pos = found.end()

    def take(self, token: str) -> bool:
        if self.text.startswith(token, self.pos):
            self.pos += len(token)
            return True
        return False

    def rules(self) -> dict[str, Expr]:
        found: dict[str, Expr] = {}
        self.skip()
        while self.pos < len(self.text):
            start = self.pos
            name = self.name()
            self.skip()
            if not self.take("::="):
                raise self.error("expected ::= after the name of a rule")
            if name in found:
                raise self.error(f"the rule {name!r} is defined twice", start)
            found[name] = self.alternatives()
            if self.text.startswith(")", self.pos):
                raise self.error("an unmatched )")
        return found

    def name(self) -> str:
        match = _NAME.match(self.text, self.pos)
        if match is None:
            raise self.error("expected the name of a rule")
        self.pos = match.end()
        return match.group()

    def alternatives(self) -> Expr:
        branches = [self.sequence()]
        while self.take("|"):
            branches.append(self.sequence())
        if all(isinstance(branch, Term) for branch in branches):
            return _term(Alt(tuple(b.regular for b in branches if isinstance(b, Term))))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def sequence(self) -> Expr:
        items: list[Expr] = []
        while True:
            self.skip()
            if self.pos >= len(self.text) or self.text[self.pos] in "|)":
                return _seq(items)
            if self.depth == 0 and _RULE.match(self.text, self.pos):
                return _seq(items)
            items.append(self.quantified(self.item()))

    def item(self) -> Expr:
        start, char = self.pos, self.text[self.pos]
        if char == '"':
            self.pos += 1
            return Term(Lit(self.literal(start)))
        if char == "[":
            self.pos += 1
            return Term(Chars(self.char_class(start)))
        if char == ".":
            self.pos += 1
            return Term(Chars(charsets.ANY))
        if char == "(":
            self.pos += 1
            if self.depth >= MAX_NESTING:
                raise self.error(f"groups nested more than {MAX_NESTING} deep", start)
            self.depth += 1
            if self.take("="):
                raise self.error("a lookahead", start, "Rewrite the rule without it.")
            inner = self.alternatives()
            self.depth -= 1
            if not self.take(")"):
                raise self.error("a ( that is never closed", start)
            return inner
        if _NAME.match(self.text, start) is None:
            raise self.error(f"expected a literal, a class, a group or a rule, got {char!r}")
        name = self.name()
        self.called.setdefault(name, start)
        return Ref(name)

    def quantified(self, item: Expr) -> Expr:
        while self.pos < len(self.text):
            start, char = self.pos, self.text[self.pos]
            low: int
            high: int | None
            if char in "*+?":
                self.pos += 1
                low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
            elif char == "{":
                low, high = self.count(start)
            else:
                break
            item = (
                _term(Rep(item.regular, low, high))
                if isinstance(item, Term)
                else Loop(item, low, high)
            )
        return item

    def count(self, start: int) -> tuple[int, int | None]:
        match = _COUNT.match(self.text, start)
        if match is None or not (match[1] or match[3]):
            raise self.error("expected a count such as {2}, {2,} or {2,5}", start)
        self.pos = match.end()
        digits = [part for part in (match[1], match[3]) if part]
        if any(len(part) > 9 or int(part) > MAX_COUNT for part in digits):
            raise self.error(f"a count above {MAX_COUNT}", start)
        low = int(match[1] or 0)
        high = (int(match[3]) if match[3] else None) if match[2] else low
        if high is not None and high < low:
            raise self.error("a repetition whose maximum is below its minimum", start)
        return low, high

    def literal(self, start: int) -> str:
        chars: list[str] = []
        while not self.take('"'):
            chars.append(self.char(start, "a literal"))
        return "".join(chars)

    def char_class(self, start: int) -> charsets.Ranges:
        negative = self.take("^")
        ranges: list[tuple[int, int]] = []
        while not self.take("]"):
            low = high = ord(self.char(start, "a class"))
            if self.text.startswith("-", self.pos) and not self.text.startswith("-]", self.pos):
                self.pos += 1
                high = ord(self.char(start, "a class"))
                if high < low:
                    raise self.error("a range that is not in order")
            ranges.append((low, high))
        found = charsets.union(ranges)
        return charsets.negate(found) if negative else found

    def char(self, start: int, what: str) -> str:
        """The next character of a literal or a class, its escape read."""
        if self.pos >= len(self.text) or self.text[self.pos] in "\r\n":
            raise self.error(f"{what} that is never closed", start)
        char = self.text[self.pos]
        self.pos += 1
        if char != "\\":
            return char
        at = self.pos - 1
        kind = self.text[self.pos : self.pos + 1]
        self.pos += 1
        if kind in _ESCAPES:
            return _ESCAPES[kind]
        width = _HEX.get(kind)
        digits = self.text[self.pos : self.pos + (width or 0)]
        if width is None or not re.fullmatch(f"[0-9A-Fa-f]{{{width}}}", digits):
            raise self.error("an escape that is none", at)
        self.pos += width
        point = int(digits, 16)
        if point > charsets.LAST or 0xD800 <= point <= 0xDFFF:
            raise self.error("an escape that is no character", at)
        return chr(point)


def _seq(items: list[Expr]) -> Expr:
    """A sequence; neighbours that are terminals become one."""
    merged: list[Expr] = []
    for item in items:
        last = merged[-1] if merged else None
        if isinstance(item, Term) and isinstance(last, Term):
            merged[-1] = _term(_joined(last.regular, item.regular))
        else:
            merged.append(item)
    return merged[0] if len(merged) == 1 else Seq(tuple(merged)) if merged else Term(Lit(""))


def _joined(one: Regular, other: Regular) -> Regular:
    if isinstance(one, Lit) and isinstance(other, Lit):
        return Lit(one.text + other.text)
    before = one.items if isinstance(one, Cat) else (one,)
    return Cat((*before, other))


def _term(regular: Regular) -> Term:
    if isinstance(regular, Alt) and len(regular.items) == 1:
        return Term(regular.items[0])
    return Term(regular)

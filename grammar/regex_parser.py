"""The recursive-descent parser of regular expressions: text to IR terms, anchors and lookarounds.

Python's `re` syntax (3.11), and ECMA-262's with the flag u. One pass, no backtracking; nesting is
bounded, so no input can exhaust the stack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from ..errors import GrammarError
from . import charsets
from .charsets import Ranges
from .ir import Alt, Cat, Chars, Lit, Regular, Rep
from .regex_scanner import MAX_COUNT, Options, Scanner

MAX_PATTERN = 1 << 20  # characters
MAX_NESTING = 100  # groups inside groups

_LOOK: dict[str, tuple[Literal["lookahead", "lookbehind"], bool]] = {
    "=": ("lookahead", False),
    "!": ("lookahead", True),
    "<=": ("lookbehind", False),
    "<!": ("lookbehind", True),
}


@dataclass(frozen=True)
class Bare:
    """A part without anchors and lookarounds."""

    regular: Regular


@dataclass(frozen=True)
class Anchor:
    """The text's start (`^`) or end (`$`)."""

    kind: Literal["^", "$"]
    column: int


@dataclass(frozen=True)
class Look:
    """What must (or, `negative`, must not) follow or stand before this place."""

    kind: Literal["lookahead", "lookbehind"]
    negative: bool
    node: Node
    column: int


@dataclass(frozen=True)
class Items:
    """A sequence or an alternation with an anchor or a lookaround somewhere in it."""

    kind: Literal["cat", "alt"]
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """A repetition with an anchor or a lookaround somewhere in it."""

    item: Node
    low: int
    high: int | None
    column: int


Node = Bare | Anchor | Look | Items | Repeat


class Parser:
    """One parse of one pattern. Raises GrammarError whose `where` is `column N` (from 1)."""

    def __init__(self, text: str, options: Options) -> None:
        if len(text) > MAX_PATTERN:
            raise GrammarError(
                expected=f"a pattern of at most {MAX_PATTERN} characters",
                got=str(len(text)),
                where="regex",
            )
        self._scan = Scanner(text, options)
        self._depth = 0

    def parse(self) -> Node:
        self._global_flags()
        node = self._alternation()
        if self._scan.pos < len(self._scan.text):
            raise self._scan.error("an unmatched )")
        return node

    # -- structure ---------------------------------------------------------------------------------

    def _alternation(self) -> Node:
        branches = [self._sequence()]
        while self._scan.take("|"):
            branches.append(self._sequence())
        return _items("alt", branches) if len(branches) > 1 else branches[0]

    def _sequence(self) -> Node:
        items: list[Node] = []
        while True:
            self._scan.skip_verbose()
            if self._scan.peek() in ("", "|", ")"):
                return items[0] if len(items) == 1 else _items("cat", items)
            column = self._scan.pos + 1
            atom = self._atom()
            if atom is None:
                continue
            self._scan.skip_verbose()
            items.append(self._quantified(atom, column))

    def _quantified(self, atom: Node, column: int) -> Node:
        counts = self._quantifier()
        if counts is None:
            return atom
        if isinstance(atom, Anchor | Look):
            raise self._scan.error("nothing to repeat", column)
        if self._scan.take("+"):
            raise self._scan.error("a possessive quantifier", hint="Use an ordinary quantifier.")
        self._scan.take("?")
        self._scan.skip_verbose()
        if self._at_quantifier():
            raise self._scan.error("multiple repeat")
        low, high = counts
        if isinstance(atom, Bare):
            return atom if counts == (1, 1) else Bare(Rep(atom.regular, low, high))
        return Repeat(atom, low, high, column)

    def _at_quantifier(self) -> bool:
        start = self._scan.pos
        found = self._quantifier() is not None
        self._scan.pos = start
        return found

    def _quantifier(self) -> tuple[int, int | None] | None:
        char = self._scan.peek()
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if char in simple and char:
            self._scan.pos += 1
            return simple[char]
        if char != "{":
            return None
        start = self._scan.pos
        self._scan.pos += 1
        first = self._scan.digits()
        comma = self._scan.take(",")
        last = self._scan.digits() if comma else first
        python = self._scan.options.dialect == "python"
        if not self._scan.take("}") or not (first or (comma and python)):
            self._scan.pos = start
            return None
        low, high = int(first or 0), int(last) if last else None
        if max(low, high or 0) > MAX_COUNT:
            raise self._scan.error(f"a count above {MAX_COUNT}", start + 1)
        if high is not None and high < low:
            raise self._scan.error("a repetition whose maximum is below its minimum", start + 1)
        return low, high

    # -- atoms -------------------------------------------------------------------------------------

    def _atom(self) -> Node | None:
        """The next atom; None for one that stands for nothing (a comment)."""
        column = self._scan.pos + 1
        char = self._scan.text[self._scan.pos]
        self._scan.pos += 1
        if char == "(":
            return self._group(column)
        if char == "[":
            return self._chars(self._scan.set(column))
        if char == ".":
            return self._chars(self._dot())
        if char in "^$":
            return self._anchor("^" if char == "^" else "$", column)
        if char == "\\":
            return self._escape(column)
        if char in "*+?":
            raise self._scan.error("nothing to repeat", column)
        if char == "{" and self._scan.options.dialect == "python":
            self._scan.pos -= 1
            if self._at_quantifier():
                raise self._scan.error("nothing to repeat", column)
            self._scan.pos += 1
        return self._literal(char)

    def _group(self, column: int) -> Node | None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._scan.error(f"groups nested more than {MAX_NESTING} deep", column)
        saved = self._scan.options
        look = None
        if self._scan.take("?"):
            look = self._look_head()
            if look is None and not self._group_head(column):
                self._depth -= 1
                return None
        node = self._alternation()
        if look is not None:
            node = Look(*look, node, column)
        if not self._scan.take(")"):
            raise self._scan.error("a ( that is never closed", column)
        self._scan.options = saved
        self._depth -= 1
        return node

    def _look_head(self) -> tuple[Literal["lookahead", "lookbehind"], bool] | None:
        """Reads what follows `(?` of a lookaround."""
        for sign in ("<=", "<!", "=", "!"):
            if self._scan.text.startswith(sign, self._scan.pos):
                self._scan.pos += len(sign)
                return _LOOK[sign]
        return None

    def _group_head(self, column: int) -> bool:
        """Reads what follows `(?`; False for a comment, which it reads to its end."""
        if self._scan.take(":"):
            return True
        for sign, name in ((">", "atomic group"), ("(", "conditional group")):
            if self._scan.text.startswith(sign, self._scan.pos):
                raise self._scan.error(
                    f"{name}", column, hint="Rewrite the pattern without it; it is not supported."
                )
        if self._scan.take("#"):
            end = self._scan.text.find(")", self._scan.pos)
            if end < 0:
                raise self._scan.error("a comment that is never closed", column)
            self._scan.pos = end + 1
            return False
        if self._scan.text.startswith(("P=", "P>"), self._scan.pos):
            raise self._scan.error("a backreference", column, hint="It is not regular.")
        if self._scan.text.startswith(("P<", "<"), self._scan.pos):
            end = self._scan.text.find(">", self._scan.pos)
            name = self._scan.text[self._scan.text.index("<", self._scan.pos) + 1 : end]
            if end < 0 or not name.isidentifier():
                raise self._scan.error("a group name that is not an identifier", column)
            self._scan.pos = end + 1
            return True
        self._flags(column, ":")
        return True

    def _flags(self, column: int, closing: str) -> None:
        names = {
            "i": "ignore_case", "s": "dot_all", "a": "ascii", "m": "multiline", "x": "verbose",
        }  # fmt: skip
        value, changes = True, dict[str, Any]()
        while not self._scan.take(closing):
            char = self._scan.peek()
            self._scan.pos += 1
            if char == "-" and value:
                value = False
            elif char == "u":
                changes["ascii"] = False
            elif char in names and char:
                changes[names[char]] = value
            elif char == ")":
                raise self._scan.error(
                    "global flags that are not at the start of the pattern", column
                )
            else:
                raise self._scan.error(f"the group or flag (?{char}", column)
        self._scan.options = replace(self._scan.options, **changes)

    def _global_flags(self) -> None:
        """A `(?flags)` at the very start."""
        while self._scan.text.startswith("(?", self._scan.pos):
            end = self._scan.pos + 2
            while end < len(self._scan.text) and self._scan.text[end] in "aimsux":
                end += 1
            if end == self._scan.pos + 2 or self._scan.text[end : end + 1] != ")":
                return
            column = self._scan.pos + 1
            self._scan.pos += 2
            self._flags(column, ")")

    def _anchor(self, kind: Literal["^", "$"], column: int) -> Node:
        if self._scan.options.multiline:
            raise self._scan.error(f"{kind} under the flag m (line by line)", column)
        return Anchor(kind, column)

    def _dot(self) -> Ranges:
        if self._scan.options.dot_all:
            return charsets.ANY
        if self._scan.options.dialect == "ecma":
            return charsets.negate(((10, 10), (13, 13), (0x2028, 0x2029)))
        return charsets.negate(charsets.NEWLINE)

    def _literal(self, char: str) -> Node:
        if not self._scan.options.ignore_case:
            if _is_surrogate(ord(char)):
                raise self._scan.error("a lone surrogate", self._scan.pos)
            return Bare(Lit(char))
        return self._chars(self._scan.folded(((ord(char), ord(char)),)))

    def _chars(self, ranges: Ranges) -> Node:
        if len(ranges) == 1 and ranges[0][0] == ranges[0][1] and not _is_surrogate(ranges[0][0]):
            return Bare(Lit(chr(ranges[0][0])))
        return Bare(Chars(ranges))

    # -- escapes -----------------------------------------------------------------------------------

    def _escape(self, column: int) -> Node:
        char = self._scan.peek()
        python = self._scan.options.dialect == "python"
        if char and char in ("bB" if not python else "bB<>"):
            raise self._scan.error(
                f"the word boundary \\{char}", column, hint="Spell out the contexts."
            )
        if python and char in ("A", "Z") and char:
            self._scan.pos += 1
            return Anchor("^" if char == "A" else "$", column)
        if char and char in "123456789" and not self._octal_ahead():
            raise self._scan.error(f"the backreference \\{char}", column, hint="It is not regular.")
        if char == "k" and not python:
            raise self._scan.error("the backreference \\k", column, hint="It is not regular.")
        ranges = self._scan.class_escape(column)
        if ranges is not None:
            return self._chars(self._scan.folded(ranges))
        return self._literal(self._scan.char_escape(column, in_set=False))

    def _octal_ahead(self) -> bool:
        """Whether three octal digits follow, which Python reads as a character."""
        digits = self._scan.text[self._scan.pos : self._scan.pos + 3]
        return (
            self._scan.options.dialect == "python"
            and len(digits) == 3
            and set(digits) <= set("01234567")
        )


def _items(kind: Literal["cat", "alt"], nodes: list[Node]) -> Node:
    """A sequence or alternation, as one IR term where no anchor is in it."""
    if any(not isinstance(node, Bare) for node in nodes):
        return Items(kind, tuple(nodes))
    regulars = [node.regular for node in nodes if isinstance(node, Bare)]
    if kind == "alt":
        return Bare(Alt(tuple(regulars)))
    merged: list[Regular] = []
    for literal, run in groupby(regulars, lambda regular: isinstance(regular, Lit)):
        if literal:
            merged.append(Lit("".join(regular.text for regular in run if isinstance(regular, Lit))))
        else:
            merged.extend(run)
    if not merged:
        return Bare(Lit(""))
    return Bare(merged[0] if len(merged) == 1 else Cat(tuple(merged)))


def _is_surrogate(point: int) -> bool:
    return 0xD800 <= point <= 0xDFFF

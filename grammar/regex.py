"""Regular expressions to IR terms.

Two dialects. `regex_regular` reads Python's `re` and means `re.fullmatch`. `pattern_regular` reads
ECMA-262 as JSON Schema's `pattern` does, and searches. Lazy quantifiers mean what greedy ones do:
the set of matched texts is the same. Anchors are exact where they can only stand at an end of the
text. What is not regular, or would change which texts match in ways the machine does not model
(lookaround, backreferences, atomic groups, possessive quantifiers, word boundaries), is refused by
name with its column.

Parsing makes an IR term wherever there is no anchor below, and the small nodes of this file where
there is one; `_close` then replaces the anchors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import GrammarError
from . import charsets
from .ir import Alt, Cat, Chars, Lit, Regular, Rep
from .regex_parser import Anchor, Bare, Items, Node, Parser, Repeat
from .regex_scanner import Options

_ANY_TEXT = Rep(Chars(charsets.ANY), 0, None)


def regex_regular(pattern: str, *, ascii: bool = False) -> Regular:
    """The texts that `re.fullmatch(pattern, text)` takes. Raises GrammarError with a column."""
    return _regular(pattern, Options(dialect="python", ascii=ascii), search=False)


def pattern_regular(pattern: str, *, search: bool = True, ascii: bool = False) -> Regular:
    """The texts in which ECMA-262's `pattern` (flag u) is found (`search`), or that it is.

    `\\d` and `\\w` are ASCII, as ECMA-262 has them; `ascii` keeps `\\s` to ASCII too.
    Raises GrammarError with a column.
    """
    return _regular(pattern, Options(dialect="ecma", ascii=ascii), search=search)


def unanchored_regular(pattern: str) -> Regular:
    """As `regex_regular`, for a pattern to be looked for anywhere in a text: anchors are refused.
    Raises GrammarError with a column."""
    node = Parser(pattern, Options(dialect="python")).parse()
    if not isinstance(node, Bare):
        anchor = _first_anchor(node)
        raise GrammarError(
            f"regex: the anchor {anchor.kind} means nothing in a text that is still being written",
            where=f"column {anchor.column}",
            hint="Leave it out.",
        )
    return node.regular


def _first_anchor(node: Anchor | Items | Repeat) -> Anchor:
    while not isinstance(node, Anchor):
        parts = node.items if isinstance(node, Items) else (node.item,)
        node = next(part for part in parts if not isinstance(part, Bare))
    return node


def _regular(pattern: str, options: Options, *, search: bool) -> Regular:
    node = Parser(pattern, options).parse()
    side = _Side("edge", open=search)
    return _close(node, side, side)


@dataclass(frozen=True)
class _Side:
    """What lies beside a node: the text's `edge` (with anything in between, where `open`), or the
    `middle` of the pattern, where no anchor can hold."""

    at: Literal["edge", "middle"]
    open: bool = False


_MIDDLE = _Side("middle")
_SHUT = _Side("edge")


def _close(node: Node, left: _Side, right: _Side) -> Regular:
    """`node` without its anchors, with any text put on the sides that are open."""
    if isinstance(node, Anchor):
        side = left if node.kind == "^" else right
        if side.at == "middle":
            raise _misplaced(node)
        left, right = (_SHUT, right) if node.kind == "^" else (left, _SHUT)
        return _open(Lit(""), left, right)
    if isinstance(node, Items):
        if node.kind == "alt":
            return Alt(tuple(_close(item, left, right) for item in node.items))
        return _close_sequence(list(node.items), left, right)
    if isinstance(node, Repeat):
        if (node.low, node.high) == (1, 1):
            return _close(node.item, left, right)
        if (node.low, node.high) == (0, 1):
            return Alt((_close(node.item, left, right), _open(Lit(""), left, right)))
        raise GrammarError(
            "regex: an anchor inside a repetition",
            where=f"column {node.column}",
            hint="Put ^ and $ at the ends of the pattern.",
        )
    return _open(node.regular, left, right)


def _close_sequence(items: list[Node], left: _Side, right: _Side) -> Regular:
    while items and isinstance(items[0], Anchor) and items[0].kind == "^":
        if left.at == "middle":
            raise _misplaced(items[0])
        left = _SHUT
        items.pop(0)
    while items and isinstance(items[-1], Anchor) and items[-1].kind == "$":
        if right.at == "middle":
            raise _misplaced(items[-1])
        right = _SHUT
        items.pop()
    if not items:
        return _open(Lit(""), left, right)
    last = len(items) - 1
    closed = [
        _close(item, left if i == 0 else _MIDDLE, right if i == last else _MIDDLE)
        for i, item in enumerate(items)
    ]
    return closed[0] if len(closed) == 1 else Cat(tuple(closed))


def _open(regular: Regular, left: _Side, right: _Side) -> Regular:
    items: list[Regular] = [_ANY_TEXT] if left.open else []
    if regular != Lit(""):
        items.append(regular)
    # Any text twice in a row is any text.
    if right.open and items != [_ANY_TEXT]:
        items.append(_ANY_TEXT)
    return items[0] if len(items) == 1 else Cat(tuple(items)) if items else Lit("")


def _misplaced(anchor: Anchor) -> GrammarError:
    return GrammarError(
        f"regex: the anchor {anchor.kind} where the text cannot be known to begin or end",
        where=f"column {anchor.column}",
        hint="Put ^ first and $ last in the pattern or in an alternative at its end.",
    )

"""Regular expressions to IR terms.

Two dialects. `regex_regular` reads Python's `re` and means `re.fullmatch`. `pattern_regular` reads
ECMA-262 as JSON Schema's `pattern` does, and searches. Lazy quantifiers mean what greedy ones do:
the set of matched texts is the same. Anchors are exact where they can only stand at an end of the
text. A lookahead is a product with all that follows it, a lookbehind with all that stands before
it, wherever that reaches the end or the start of the text. What is not regular, or would change
which texts match in ways the machine does not model (backreferences, atomic groups, possessive
quantifiers, word boundaries, a lookaround inside a repetition), is refused by name with its column.

Parsing makes an IR term wherever there is no anchor and no lookaround below, and the small nodes of
regex_parser.py where there is one; `_close` then replaces them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import GrammarError
from . import charsets
from .ir import Alt, And, Cat, Chars, Lit, Not, Regular, Rep
from .regex_parser import Anchor, Bare, Items, Look, Node, Parser, Repeat
from .regex_scanner import Options

_ANY_TEXT = Rep(Chars(charsets.ANY), 0, None)
_MOST_GROUPS = 6  # each multiplies the pattern by its alternatives


def regex_regular(pattern: str, *, ascii: bool = False) -> Regular:
    """The texts that `re.fullmatch(pattern, text)` takes. Raises GrammarError with a column."""
    return _regular(pattern, Options(dialect="python", ascii=ascii), search=False)


def pattern_regular(pattern: str, *, search: bool = True, ascii: bool = False) -> Regular:
    """The texts in which ECMA-262's `pattern` (flag u) is found (`search`), or that it is.

    `\\d` and `\\w` are ASCII, as ECMA-262 has them; `ascii` keeps `\\s` to ASCII too.
    Raises GrammarError with a column.
    """
    return _regular(pattern, Options(dialect="ecma", ascii=ascii), search=search)


def terminal_regular(pattern: str, *, ascii: bool = False) -> Regular:
    """As `regex_regular`, for a part of a text that goes on on both sides: anchors are refused, and
    lookarounds that would see beyond the part. Raises GrammarError with a column."""
    node = Parser(pattern, Options(dialect="python", ascii=ascii)).parse()
    side = _Side("edge", beyond=True)
    return _close(node, side, side)


def unanchored_regular(pattern: str) -> Regular:
    """As `regex_regular`, for a pattern to be looked for anywhere in a text: anchors are refused.
    Raises GrammarError with a column."""
    node = Parser(pattern, Options(dialect="python")).parse()
    if not isinstance(node, Bare):
        found = _first_special(node)
        what = "anchor" if isinstance(found, Anchor) else "lookaround"
        raise GrammarError(
            f"regex: the {what} {found.kind} means nothing in a text that is still being written",
            where=f"column {found.column}",
            hint="Leave it out.",
        )
    return node.regular


def _first_special(node: Anchor | Look | Items | Repeat) -> Anchor | Look:
    while not isinstance(node, Anchor | Look):
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
    `middle` of the pattern, where no anchor can hold. beyond: the pattern's edge is not the
    text's, which goes on."""

    at: Literal["edge", "middle"]
    open: bool = False
    beyond: bool = False


_MIDDLE = _Side("middle")
_SHUT = _Side("edge")


def _close(node: Node, left: _Side, right: _Side) -> Regular:
    """`node` without its anchors, with any text put on the sides that are open."""
    if isinstance(node, Anchor):
        side = left if node.kind == "^" else right
        if side.at == "middle" or side.beyond:
            raise _misplaced(node)
        left, right = (_SHUT, right) if node.kind == "^" else (left, _SHUT)
        return _open(Lit(""), left, right)
    if isinstance(node, Look):
        return _close_sequence([node], left, right)
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
            "regex: an anchor or a lookaround inside a repetition",
            where=f"column {node.column}",
            hint="Put ^ and $ at the ends of the pattern, and lookarounds outside repetitions.",
        )
    return _open(node.regular, left, right)


def _close_sequence(items: list[Node], left: _Side, right: _Side) -> Regular:
    while items and isinstance(items[0], Anchor) and items[0].kind == "^":
        if left.at == "middle" or left.beyond:
            raise _misplaced(items[0])
        left = _SHUT
        items.pop(0)
    while items and isinstance(items[-1], Anchor) and items[-1].kind == "$":
        if right.at == "middle" or right.beyond:
            raise _misplaced(items[-1])
        right = _SHUT
        items.pop()
    if not items:
        return _open(Lit(""), left, right)
    at = next((i for i, item in enumerate(items) if _looks(item)), None)
    if at is not None and not isinstance(items[at], Look):
        return _distribute(items, at, left, right)
    if at is not None:
        return _close_looks(items, left, right)
    last = len(items) - 1
    closed = [
        _close(item, left if i == 0 else _MIDDLE, right if i == last else _MIDDLE)
        for i, item in enumerate(items)
    ]
    return closed[0] if len(closed) == 1 else Cat(tuple(closed))


def _looks(node: Node) -> bool:
    """Whether a lookaround stands in it, outside of repetitions."""
    if isinstance(node, Items):
        return any(_looks(item) for item in node.items)
    if isinstance(node, Repeat):
        return node.low <= 1 and node.high == 1 and _looks(node.item)
    return isinstance(node, Look)


def _distribute(items: list[Node], at: int, left: _Side, right: _Side) -> Regular:
    """A sequence whose item `at` has lookarounds inside, which see what stands beside the item."""
    item = items[at]
    if isinstance(item, Items) and item.kind == "cat":
        return _close_sequence([*items[:at], *item.items, *items[at + 1 :]], left, right)
    if isinstance(item, Repeat):
        branches: tuple[Node, ...] = (item.item, *([Bare(Lit(""))] if item.low == 0 else []))
    else:
        assert isinstance(item, Items)
        branches = item.items
    if sum(map(_looks, items)) > _MOST_GROUPS:
        raise GrammarError(
            f"regex: more than {_MOST_GROUPS} groups with lookarounds in one sequence",
            hint="Rewrite the pattern with fewer of them.",
        )
    return Alt(
        tuple(
            _close_sequence([*items[:at], branch, *items[at + 1 :]], left, right)
            for branch in branches
        )
    )


def _close_looks(items: list[Node], left: _Side, right: _Side) -> Regular:
    """A sequence with lookarounds. The last lookbehind divides it: what stands before has it as a
    constraint; else the first lookahead does, and what follows has it."""
    behind = [i for i, item in enumerate(items) if _is_look(item, "lookbehind")]
    at = behind[-1] if behind else next(i for i, item in enumerate(items) if isinstance(item, Look))
    look = items[at]
    assert isinstance(look, Look)
    ahead = look.kind == "lookahead"
    side, seen = (right, items[at + 1 :]) if ahead else (left, items[:at])
    if side.at == "middle" or (side.beyond and (ahead or not _within(look, seen))):
        raise GrammarError(
            f"regex: a {look.kind} that sees more than the pattern says",
            where=f"column {look.column}",
            hint="Lookbehinds come before lookaheads, and see no further than the text.",
        )
    before = _close_sequence(items[:at], left, _MIDDLE)
    after = _close_sequence(items[at + 1 :], _MIDDLE, right)
    far = _Side("edge", open=True)
    seen_by = _close(look.node, *((_MIDDLE, far) if ahead else (far, _MIDDLE)))
    constraint = Not(seen_by) if look.negative else seen_by
    if ahead:
        after = And((after, constraint))
    else:
        before = And((before, constraint))
    return Cat((before, after))


def _is_look(node: Node, kind: str) -> bool:
    return isinstance(node, Look) and node.kind == kind


def _within(look: Look, before: list[Node]) -> bool:
    """Whether a lookbehind sees no more than what stands before it in the pattern."""
    nodes = [node for node in before if not isinstance(node, Look)]
    widest = _length(_close(look.node, _MIDDLE, _MIDDLE), max)
    return widest <= sum(_length(_close(node, _MIDDLE, _MIDDLE), min) for node in nodes)


def _length(regular: Regular, least: Callable[[Iterable[float]], float]) -> float:
    """Characters of the shortest (`min`) or longest (`max`) text of a term; the estimate errs on
    the safe side where a term cannot be told apart from its parts."""
    if isinstance(regular, Lit):
        return len(regular.text)
    if isinstance(regular, Chars):
        return 1
    if isinstance(regular, Rep):
        count = regular.low if least is min else math.inf if regular.high is None else regular.high
        length = _length(regular.item, least)
        return length * count if length else 0
    if isinstance(regular, Cat):
        return sum(_length(item, least) for item in regular.items)
    if isinstance(regular, Alt) and regular.items:
        return least(_length(item, least) for item in regular.items)
    return 0 if least is min else math.inf


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

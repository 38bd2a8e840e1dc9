"""The first match of a regular expression in a text that is still growing.

Not what `re.search` finds: that depends on how much of the text is there (`a+` in "a", then "aa").
Here a match is found with the first character that completes one; of several that the same
character completes, the longest. So the answer does not depend on the pieces the text comes in.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

from ..errors import GrammarError
from .arena import Arena
from .derivatives import segments, step
from .lower import lower
from .node import Node
from .regex import unanchored_regular

ALLOWANCE = 20_000  # states that a pattern, and again each search for it, may make
MOST_OPEN = 256  # matches under way at once, those apart that can only go on alike
_T = TypeVar("_T")


class Search:
    """One search: `feed` it the text's pieces. pattern: Python's syntax, what is not regular and
    anchors refused. arena: whose states it shares. Raises GrammarError, also from `feed` where too
    much would have to be followed: at one place, or over the whole text.
    """

    def __init__(self, pattern: str, arena: Arena | None = None) -> None:
        self.pattern = pattern
        self._begin()
        self._arena = Arena() if arena is None else arena
        self._root = self._within(lambda: lower(self._arena, unanchored_regular(pattern)))
        if self._root.nullable:
            raise GrammarError(
                f"the regular expression {pattern!r} matches the empty text: it would stop at once",
                hint="Use + instead of *, or say what must be there.",
            )
        if not self._within(lambda: segments(self._arena, self._root)):
            raise GrammarError(f"the regular expression {pattern!r} matches no text")

    def _begin(self) -> None:
        self._seen = 0
        self._left = ALLOWANCE
        self._alive: list[tuple[int, Node]] = []  # where each began, and what remains of it

    def again(self) -> Search:
        """A search from the start for the same pattern, in the same thread: they share states."""
        other = copy.copy(self)
        other._begin()
        return other

    def feed(self, text: str) -> tuple[int, int] | None:
        """Start and end (in characters, of all text fed) of the first match, None while there is
        none; call it no more after a match."""
        return self._within(lambda: self._follow(text))

    def _within(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, charged to this search's allowance."""
        self._arena.begin(self._left)
        try:
            return work()
        except GrammarError as error:
            if self._arena.left:
                raise
            raise GrammarError(
                f"the regular expression {self.pattern!r} needs more than {ALLOWANCE} states",
                hint="Simplify it: smaller counters, fewer alternatives that begin alike.",
            ) from error
        finally:
            self._left = self._arena.left

    def _follow(self, text: str) -> tuple[int, int] | None:
        arena = self._arena
        for char in text:
            self._alive.append((self._seen, self._root))
            self._seen += 1
            for byte in char.encode("utf-8", "surrogatepass"):
                alive: dict[Node, int] = {}
                for start, node in self._alive:  # the earliest come first, and stay
                    rest = step(arena, node, byte)
                    if rest is not arena.empty:
                        alive.setdefault(rest, start)
                self._alive = [(start, node) for node, start in alive.items()]
            if len(self._alive) > MOST_OPEN:
                raise GrammarError(
                    f"the regular expression {self.pattern!r} could have begun at more than "
                    f"{MOST_OPEN} places at once, each to go on in its own way",
                    hint="Begin it with something rarer, and avoid counters after .* or (a|b)*.",
                )
            ended = [start for start, node in self._alive if node.nullable]
            if ended:
                return min(ended), self._seen
        return None

    @property
    def may_begin(self) -> int:
        """Where the earliest match that more text could complete would begin."""
        return min((start for start, _ in self._alive), default=self._seen)

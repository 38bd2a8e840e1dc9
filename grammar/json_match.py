"""Does one string belong to a regular term? Decided on the term itself, without an automaton.

The front end needs it for finite sets: which `enum` values also fit the pattern beside them, which
declared name falls under which `patternProperties`. It follows the meaning of the terms literally
(sets of end positions), so it is also the plainest statement of what each term denotes.
"""

from __future__ import annotations

from . import ir


def matches(regular: ir.Regular, text: str) -> bool:
    """Whether the whole of `text` is in the language of `regular`."""
    return len(text) in _Matcher(text).ends(regular, 0)


class _Matcher:
    """End positions of terms in one text; remembers (term, start) pairs it has seen."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._known: dict[tuple[int, int], frozenset[int]] = {}
        self._kept: list[ir.Regular] = []  # keeps ids valid

    def ends(self, regular: ir.Regular, start: int) -> frozenset[int]:
        """All positions at which a match of `regular` that begins at `start` may end."""
        key = (id(regular), start)
        found = self._known.get(key)
        if found is None:
            found = frozenset(self._ends(regular, start))
            self._known[key] = found
            self._kept.append(regular)
        return found

    def _ends(self, regular: ir.Regular, start: int) -> set[int] | frozenset[int]:
        match regular:
            case ir.Lit(text):
                return {start + len(text)} if self._text.startswith(text, start) else set()
            case ir.Chars(ranges):
                return {start + 1} if self._char_in(ranges, start) else set()
            case ir.Cat(items):
                here = {start}
                for item in items:
                    here = {end for middle in here for end in self.ends(item, middle)}
                return here
            case ir.Alt(items):
                return {end for item in items for end in self.ends(item, start)}
            case ir.Rep():
                return self._repeat(regular, start)
            case ir.And(items):
                every = self._all(start)
                for item in items:
                    every &= self.ends(item, start)
                return every
            case ir.Not(item):
                return self._all(start) - self.ends(item, start)

    def _all(self, start: int) -> set[int]:
        return set(range(start, len(self._text) + 1))

    def _char_in(self, ranges: tuple[tuple[int, int], ...], at: int) -> bool:
        if at >= len(self._text):
            return False
        code = ord(self._text[at])
        return any(low <= code <= high for low, high in ranges)

    def _repeat(self, rep: ir.Rep, start: int) -> set[int]:
        if rep.high is not None and rep.high < rep.low:
            return set()
        here = {start}
        for _ in range(min(rep.low, len(self._text) + 2)):
            # Past the text's length only empty rounds are left: the set is stable by then.
            following = {end for middle in here for end in self.ends(rep.item, middle)}
            if following == here:
                break
            here = following
        found = set(here)
        rounds = None if rep.high is None else rep.high - rep.low
        while here and (rounds is None or rounds > 0):
            here = {end for middle in here for end in self.ends(rep.item, middle)} - found
            found |= here
            rounds = None if rounds is None else rounds - 1
        return found

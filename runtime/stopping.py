"""Stop strings and expressions: where the text ends, and how much of it may be shown already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidRequestError
from ..grammar.arena import Arena
from ..grammar.search import Search
from ..types import SamplingParams

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

LONGEST = 512  # characters of all patterns of a request: what the engine reads between two steps
LONGEST_STOPS = 2_048  # characters of all stop strings: each may be compared in each step
_KEPT = 128  # patterns
_FULL = 100_000  # states of all patterns together, before those that nobody holds are forgotten


def end_ids(
    params: SamplingParams, tokenizer: Tokenizer | None, eos: frozenset[int], vocab_size: int
) -> frozenset[int]:
    """Tokens that end a request. eos: the model's own. Stop strings that are special tokens are
    among them, for no text shows these; but not those that the model has no row for."""
    special = {} if tokenizer is None else tokenizer.special_of
    named = [special[stop] for stop in params.stop if special.get(stop, vocab_size) < vocab_size]
    own = frozenset() if params.ignore_eos else eos
    return own.union(params.stop_token_ids, named)


class StopWatch:
    """Watches a growing text for the first of several strings and regular expressions.

    `feed` returns what can be shown: text that might belong to a match is held back until that is
    decided. After a match, `matched` names the string or the expression, and the text ends before
    it. The first is the one that is complete first (then the longest), so that the answer does not
    depend on the pieces in which the text comes.
    """

    def __init__(self, stops: tuple[str, ...], searches: Sequence[Search] = ()) -> None:
        self._stops = stops
        self._searches = searches
        self._longest = max(map(len, stops), default=0)
        self._firsts = frozenset(stop[0] for stop in stops)
        self._held = ""
        self._held_from = 0  # where in the whole text `_held` begins
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """Add text; return what is certain to come before any match. Raises GrammarError where an
        expression grows too large."""
        if not self._held and not self._searches and self._firsts.isdisjoint(text):
            self._held_from += len(text)  # nearly every time: no stop string can begin here
            return text
        hits: list[tuple[int, int, str]] = []
        for search in self._searches:
            if (hit := search.feed(text)) is not None:
                hits.append((hit[1], hit[0], search.pattern))
        text = self._held + text
        base = self._held_from
        for stop in self._stops:
            if (at := text.find(stop)) >= 0:
                hits.append((base + at + len(stop), base + at, stop))
        if hits:
            _, at, self.matched = min(hits)
            self._held = ""
            return text[: at - base]
        shown = len(text) - self._may_begin_a_stop(text)
        for search in self._searches:
            shown = min(shown, search.may_begin - base)
        self._held, self._held_from = text[shown:], base + shown
        return text[:shown]

    def flush(self) -> str:
        """The end has come without a match: what was held back."""
        text, self._held = self._held, ""
        return text

    def _may_begin_a_stop(self, text: str) -> int:
        """Length of the longest end of `text` with which some stop string begins."""
        if self._firsts.isdisjoint(text[1 - self._longest :] if self._longest > 1 else ""):
            return 0
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[len(text) - size :]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0


def check_stops(stops: Sequence[str]) -> None:
    """Raise InvalidRequestError for stop strings that are too long."""
    length = sum(map(len, stops))
    if length > LONGEST_STOPS:
        raise InvalidRequestError(
            expected=f"stop strings of at most {LONGEST_STOPS:,} characters together",
            got=f"{length:,}",
            where="stop",
        )


class Searches:
    """Searches by pattern: each is parsed once, for all samples and requests of an engine. Bounded
    in characters and states, for the engine's own thread parses and follows them."""

    def __init__(self) -> None:
        self._arena = Arena(full=_FULL)
        self._made: OrderedDict[str, Search] = OrderedDict()

    def of(self, patterns: tuple[str, ...]) -> tuple[Search, ...]:
        """New searches for a request's patterns. Raises InvalidRequestError where they are too
        long, GrammarError where one cannot be followed."""
        length = sum(map(len, patterns))
        if length > LONGEST:
            raise InvalidRequestError(
                expected=f"expressions of at most {LONGEST} characters together",
                got=str(length),
                where="stop_regex",
                hint="Many fixed strings go into `stop`.",
            )
        return tuple(map(self._get, patterns))

    def _get(self, pattern: str) -> Search:
        if pattern not in self._made:
            self._made[pattern] = Search(pattern, self._arena)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(pattern)
        return self._made[pattern].again()

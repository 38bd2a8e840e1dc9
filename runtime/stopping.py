"""Stop strings: where the text ends, and how much of it may be shown already."""

from __future__ import annotations


class StopStrings:
    """Watches a growing text for the first of several strings.

    `feed` returns what can be shown: text that might be the beginning of a stop string is held
    back until that is decided. After a match, `matched` names the string and the text ends before
    it. The first is the one that is complete first (then the longest), so that the answer does not
    depend on the pieces in which the text comes.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """Add text; return what is certain to come before any stop string."""
        if not self._stops:
            return text
        text = self._held + text
        found = [(text.find(stop), stop) for stop in self._stops]
        hits = [(at + len(stop), at, stop) for at, stop in found if at >= 0]
        if hits:
            _, at, self.matched = min(hits)
            self._held = ""
            return text[:at]
        keep = self._may_begin_a_stop(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """The end has come without a match: what was held back."""
        text, self._held = self._held, ""
        return text

    def _may_begin_a_stop(self, text: str) -> int:
        """Length of the longest end of `text` with which some stop string begins."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[len(text) - size :]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0

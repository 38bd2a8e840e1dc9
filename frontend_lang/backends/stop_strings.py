"""Stop strings, looked for in a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class Cutter:
    """Lets the text through that stands before the first stop string; `found` is that one.

    The first is the one that is complete first. What may still become a stop string is held back.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def feed(self, text: str) -> str:
        """More text; returns what of it is settled."""
        if self.found is not None:
            return ""
        self._held += text
        ends = [
            (self._held.index(stop) + len(stop), self._held.index(stop), stop)
            for stop in self._stops
            if stop in self._held
        ]
        if ends:
            _, at, self.found = min(ends)
            return self._release(at)
        return self._release(len(self._held) - self._begun())

    def finish(self) -> str:
        """No more will come: what was held back, unless a stop string was found."""
        return "" if self.found is not None else self._release(len(self._held))

    def _release(self, end: int) -> str:
        settled, self._held = self._held[:end], self._held[end:]
        return settled

    def _begun(self) -> int:
        """How much of the end of the text may be the beginning of a stop string."""
        most = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(most, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stops):
                return size
        return 0

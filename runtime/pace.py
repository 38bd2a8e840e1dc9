"""How fast tokens come: histograms that only the engine can keep, for whoever watches it."""

from __future__ import annotations

import bisect
from collections import Counter
from typing import Any

from .progress import Progress
from .step import Step

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
TIMES = (0, 1, 2, 3, 5, 10, 20)


class Histogram:
    """Counts of values up to each bound, and of those beyond the last."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """A value, that was seen so often."""
        self.counts[bisect.bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def told(self) -> dict[str, Any]:
        """As plain data."""
        return {"bounds": list(self.bounds), "counts": self.counts, "sum": self.sum}


class Pace:
    """step_tokens: of prompts computed, and generated, per step. token_gap_seconds: from one step
    that gave a request tokens to the next that did. retractions: of each request that ended."""

    def __init__(self) -> None:
        self.step_tokens = Histogram(TOKENS)
        self.token_gap_seconds = Histogram(SECONDS)
        self.retractions = Histogram(TIMES)
        self._gaps: Counter[float] = Counter()
        self._taken = 0

    def took(self, progress: Progress, now: float) -> None:
        """A request gets a token, of the step that is committed now."""
        self._taken += not progress.seq.request.quiet
        before = progress.token_at
        if before != now:
            progress.token_at = now
            if before is not None:
                self._gaps[before] += 1  # most requests of a step had their last in the same one

    def committed(self, step: Step, now: float) -> int:
        """A step is committed; how many tokens were taken of it."""
        taken, self._taken = self._taken, 0
        tokens = step.computed + taken
        if tokens or not all(seq.request.quiet for seq in step.named.values()):
            self.step_tokens.add(tokens)
        for before, times in self._gaps.items():
            self.token_gap_seconds.add(now - before, times)
        self._gaps.clear()
        return taken

    def ended(self, progress: Progress) -> None:
        """A request has ended."""
        if not progress.seq.request.quiet:
            self.retractions.add(progress.seq.retractions)

    def told(self) -> dict[str, Any]:
        """All of them, as plain data."""
        names = ("step_tokens", "token_gap_seconds", "retractions")
        return {name: getattr(self, name).told() for name in names}

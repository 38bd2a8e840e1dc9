"""The masks of a step: each constrained sample's row, and what is new of the pool."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ..grammar.matcher import Matcher
from ..grammar.pool import MaskPool
from .model_runner import Masks
from .progress import Progress
from .step import Draft, Step


class Masking:
    """Knows what the runner has of the pool."""

    def __init__(self, pool: MaskPool) -> None:
        self._pool = pool
        self._resend = False

    def lost(self) -> None:
        """A step failed, and with it perhaps rows that were on their way."""
        self._resend = True

    def of(
        self,
        step: Step,
        live: Mapping[int, Progress],
        fail: Callable[[Progress, Exception], None],
    ) -> Masks:
        """The masks of a step. fail: told of a request whose grammar grew too large, or of a bug of
        ours (P4)."""
        self._pool.begin_step()
        masks = Masks()
        drafts = {draft.first: draft for draft in step.drafts}
        guesses = {i for d in step.drafts for i in range(d.first + 1, d.first + d.rows)}
        for i in step.plan.constrained:
            progress = live.get(step.samples[i].id)
            if progress is None or progress.matcher is None or i in guesses:
                continue  # finished meanwhile: its token will be discarded
            try:
                row = progress.matcher.mask_row(progress.remaining)
            except Exception as error:
                fail(progress, error)
                continue
            masks.samples.append(i)
            masks.rows.append(row)
            if i in drafts:
                self._ahead(drafts[i], progress.matcher.copy(), progress.remaining, masks)
        masks.new_rows = self._pool.drain_dirty()
        if self._resend:
            masks.new_rows = list(range(self._pool.used))
            self._resend = False
        if masks.new_rows:
            masks.new_words = self._pool.rows[np.array(masks.new_rows)]
        return masks

    def prepare(self, step: Step, live: Mapping[int, Progress], ready: Callable[[], bool]) -> None:
        """While a step's tokens are not there, make masks that are likely to follow them, a row of
        one sequence after a row of the next. An error will be met again where it counts."""
        waiting: deque[Iterator[None]] = deque()
        for number in dict.fromkeys([step.samples[i].id for i in step.plan.constrained]):
            progress = live.get(number)
            if progress is not None and progress.matcher is not None:
                waiting.append(progress.matcher.prepare(progress.remaining - 1))
        while waiting and not ready():
            work = waiting.popleft()
            with contextlib.suppress(Exception):
                next(work)
                waiting.append(work)

    def _ahead(self, draft: Draft, matcher: Matcher, remaining: int, masks: Masks) -> None:
        """The masks after each guess of a draft, as far as the grammar follows it. A request does
        not fail by what lies ahead: it may never come there."""
        for number, guess in enumerate(draft.tokens, 1):
            row = None
            with contextlib.suppress(Exception):
                if matcher.accept(guess):
                    row = matcher.mask_row(remaining - number)
            if row is None:
                draft.tokens = draft.tokens[: number - 1]
                return
            masks.samples.append(draft.first + number)
            masks.rows.append(row)

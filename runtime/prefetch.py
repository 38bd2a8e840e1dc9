"""Loads from the host ahead of need: who is next in the queue finds its prefix on the device.

A step that had no seat or no rows left for the one who is next brings back what the host keeps of
its tokens, in pieces of at most `step_tokens`, and where that pushes out nothing that anybody may
want sooner: it has to fit as if it were let in, and evicts only what can be spared. The copies are
the last of the step's; the one they are for reads them in a later step. It holds nothing by that:
its prefix is in the tree, where others may use it, and goes last because it is waited for.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .admission import Admission
from .plan import Ints
from .sequence import Sequence
from .step import Step

if TYPE_CHECKING:
    from .scheduler import Scheduler


class Prefetch:
    """What one scheduler has looked at. tokens: loaded ahead so far."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.tokens = 0
        self._scheduler = scheduler
        self._looked_at = (0, 0)  # who was next, and how much of it was cached
        self._found = 0  # how much more of it the host kept
        self._loaded = (0, 0, -1)  # whose tokens came last, how many, and in which step

    def fill(self, admission: Admission, step: Step) -> None:
        """List loads for who is next, if there is anybody and anything."""
        scheduler = self._scheduler
        tier, cache, page = scheduler.tier, scheduler.cache, scheduler.config.page_size
        seq = scheduler.waiting.peek()
        if tier is None or seq is None:
            return
        depth = scheduler.waiting.depth(seq)
        stop = min(seq.known, depth + max(scheduler.config.step_tokens, page))
        key = seq.key(stop - stop % page)
        if (seq.id, depth) != self._looked_at:
            self._looked_at = (seq.id, depth)
            self._found = tier.found(key, seq.namespace, depth)
        if not self._found or not admission.fits(seq.known + page - depth, seq):
            return
        slots = tier.load(key, seq.namespace, depth, partial(self._take, seq, depth))
        if slots is None:
            return
        cache.insert(
            key[: depth + len(slots)],
            slots,
            seq.namespace,
            after=cache.match(key[:depth], seq.namespace).node,
            pending=step.plan.step,
            asked=seq.asked,
        )
        self._loaded = (seq.id, len(slots), step.plan.step)
        self.tokens += len(slots)

    def coming(self, seq: Sequence) -> int:
        """Tokens of a sequence that a launched step is loading."""
        whose, tokens, step = self._loaded
        return tokens if whose == seq.id and step in self._scheduler.in_flight else 0

    def _take(self, seq: Sequence, depth: int, count: int) -> Ints | None:
        """So many slots, of those that are free or can be spared; None where they are fewer, or
        where the sequence's own prefix went for them."""
        scheduler = self._scheduler
        short = count - scheduler.allocator.available
        if short > 0 and scheduler.cache.evict(short, spare=True) < short:
            return None
        return scheduler.allocator.alloc(count) if scheduler.waiting.depth(seq) == depth else None

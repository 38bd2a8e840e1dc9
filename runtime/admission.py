"""The prompts of one step: chunks of those that run, and who is let in beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .memory import Room
from .sequence import Sequence
from .step import Step

if TYPE_CHECKING:
    from .scheduler import Scheduler


class Admission:
    """Plans the prompts' rows of one step. Whoever is let in holds a seat and a lock on what is
    cached of its prompt."""

    def __init__(self, scheduler: Scheduler, step: Step) -> None:
        self._scheduler = scheduler
        self._step = step
        self._newcomers = 0
        self._room: Room | None = None  # once it was asked for

    def fill(self, prefilling: list[Sequence], budget: int) -> None:
        """Chunks of prompts, the oldest first, then newcomers. Prompts that take all of a step and
        more leave half of it to the others, so that these need not wait for their end."""
        run, step = self._scheduler.run, self._step
        self._scheduler.waiting.begin_step()
        long = [seq for seq in prefilling if seq.end - seq.pos > budget]
        short = [seq for seq in prefilling if seq.end - seq.pos <= budget] if long else prefilling
        left = budget // 2 if long else budget
        kept = budget - left
        for seq in short:
            if seq.runnable and left > 0:
                left -= run(step, seq, left)
        left += kept - self._admit_waiting(left)
        for seq in long:
            if seq.runnable and left > 0:
                left -= run(step, seq, left)

    def _admit_waiting(self, budget: int) -> int:
        """Admit who is next while there is room; returns the rows planned for them."""
        scheduler, left = self._scheduler, budget
        while left > 0 and scheduler.free_seats:
            seq = scheduler.waiting.peek()
            if seq is None or not self._admit(seq):
                break
            left -= scheduler.run(self._step, seq, left)
            if self._room is not None:
                self._room.admitted(seq)
        return budget - left

    def _admit(self, seq: Sequence) -> bool:
        """Give a waiting sequence a seat if its whole prompt can be expected to fit."""
        scheduler = self._scheduler
        cache, page = scheduler.cache, scheduler.config.page_size
        match, cached = None, 0
        # The page its next token may need; none where this is its last one.
        ahead = min(page, max(0, seq.last_input - seq.known) + page - 1)
        need = seq.known + ahead
        if scheduler.config.use_cache:
            cached = scheduler.waiting.depth(seq)
            if not self.fits(need - cached, seq):
                return False
            match = cache.match(seq.key(cached), seq.namespace)
            need += cache.unheld(match.node) - cached
        if not self.fits(need, seq):
            return False
        if match is not None:
            cache.lock(
                match.node, seq.asked
            )  # before anything is evicted, which it might be itself
            short = seq.known - cached + ahead - scheduler.allocator.available
            # A step's first comes at any price.
            if self._newcomers and short > 0 and cache.evict(short, spare=True) < short:
                cache.unlock(match.node)
                return False
        self._newcomers += 1
        scheduler.waiting.remove(seq)
        # What it may generate counts from the start, lest long answers hold all seats before they
        # are seen; what it does not is given back. Computing again is not its tenant's doing.
        prefill = 0 if seq.retracted else seq.known - cached
        seq.promised = seq.max_length - seq.known
        scheduler.waiting.charge(seq.tenant, prefill, ahead=seq.promised)
        scheduler.seat(self._step, seq)
        if match is not None:
            seq.node = match.node
            pending = match.pending - scheduler.prefetch.coming(seq)
            scheduler.adopt(self._step, seq, match.slots, max(0, pending))
            self._restore(seq)
        return True

    def _restore(self, seq: Sequence) -> None:
        """What the host keeps of a newcomer's tokens, beyond what is cached, comes back."""
        scheduler, start = self._scheduler, seq.tree_len
        tier, cache = scheduler.tier, scheduler.cache
        if tier is None or seq.node is None:
            return
        slots = tier.load(seq.key(seq.known), seq.namespace, start, scheduler.take)
        if slots is None:
            return
        added = cache.insert(
            seq.key(start + len(slots)),
            slots,
            seq.namespace,
            after=seq.node,
            pending=self._step.plan.step,
            asked=seq.asked,
        )
        if len(added.duplicates):
            scheduler.allocator.free(added.duplicates)
        slots[: len(added.existing)] = added.existing
        cache.lock(added.node, seq.asked)
        cache.unlock(seq.node)
        seq.node = added.node
        scheduler.adopt(self._step, seq, slots, 0)

    def fits(self, tokens: int, seq: Sequence) -> bool:
        """Whether a newcomer fits beside what running sequences will want soon. One that is alone
        always does."""
        scheduler = self._scheduler
        if not (scheduler.running or scheduler.leaving):
            return True
        if self._room is None:
            self._room = Room(scheduler.running.values(), scheduler.config.headroom)
        return tokens + self._room.beside(seq) <= scheduler.free_tokens()

"""The scheduler: which rows run in the next step, and where their KV lives. Ints only, no torch.

Each step it lets running sequences go on (decode rows first, then prefill chunks), admits waiting
ones while tokens, seats and slots last, and retracts when slots run out (memory.py).
A sequence's new prompt KV enters the tree as soon as it is planned, so that the next sequence
planned in the same step already reads it.

Invariants, checked by `check_invariants`:
S1. Slots partition into free, tree, running and deferred (to a launched step).
S2. A running sequence's first `tree_len` slots are the tree's, up to the end of `node`, which is
    alive.
S3. Every running or leaving sequence holds a seat of its own; free seats are the rest.
S4. Running sequences keep `pos <= length`, `tree_len <= kv_len <= room`.
S5. The sequences that launched steps name hold a seat, and each knows the latest of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..errors import OutOfSlotsError
from ..radix_cache.results import Insertion
from ..radix_cache.slots import SlotAllocator
from ..radix_cache.tier import HostTier
from ..radix_cache.tree import RadixCache
from . import invariants, memory
from .accounts import Counters
from .admission import Admission
from .decoding import decode
from .options import SchedulerConfig
from .plan import Ints
from .prefetch import Prefetch
from .sequence import Sequence
from .shared_runs import SharedRuns
from .step import Step
from .waiting import WaitingQueue

_GLANCE = 256  # tokens


class Scheduler:
    """See the module's docstring. `clock` is in seconds."""

    def __init__(
        self, config: SchedulerConfig, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.clock = clock
        self.allocator = SlotAllocator(config.capacity, config.page_size)
        self.tier: HostTier | None = None
        if config.host_capacity and config.use_cache:
            self.tier = HostTier(config.host_capacity, config.page_size)
        self.cache = RadixCache(
            self.allocator,
            policy=config.eviction,
            clock=clock,
            leaving=None if self.tier is None else self.tier.save,
        )
        shared = self.cache if config.use_cache else None
        self.waiting = WaitingQueue(
            shared,
            age_bound=config.age_bound,
            ageing=config.ageing,
            shares=config.shares,
            policy=config.policy,
        )
        self.prefetch = Prefetch(self)
        self.running: dict[int, Sequence] = {}
        self.counters = Counters()
        self.shared_runs = SharedRuns()
        self.free_seats = list(range(config.max_running))[::-1]
        self._steps = 0
        self.in_flight: dict[int, Step] = {}
        self.leaving: dict[int, Sequence] = {}  # finished, but named by a launched step
        self.deferred: dict[int, list[Ints]] = {}  # slots to free when that step retires

    # -- in and out --------------------------------------------------------------------------------

    def add(self, seq: Sequence) -> None:
        """Queue a sequence. Raises OutOfSlotsError when it could not run even alone."""
        if seq.prompt_len > self.config.capacity:
            raise OutOfSlotsError(
                "the prompt does not fit the KV cache",
                expected=f"at most {self.config.capacity} tokens",
                got=str(seq.prompt_len),
                where="prompt",
                hint=f"Start the engine with max_total_tokens={seq.prompt_len} or more",
            )
        seq.state = "waiting"
        self.waiting.add(seq)

    def finish(self, seq: Sequence) -> None:
        """The one release path: whatever ended it, its seat and slots come back, at once or when
        the last launched step that names it retires. Its KV stays in the tree."""
        if seq.state == "waiting":
            self.waiting.remove(seq)
        elif seq.state == "running":
            del self.running[seq.id]
            self.leaving[seq.id] = seq
            self._settle(seq)
            self._let_go(seq)
        if seq.state != "finished":
            seq.state = "finished"
            seq.finished_at = self.clock()

    @property
    def idle(self) -> bool:
        return not (self.running or self.waiting or self.leaving)

    def free_tokens(self) -> int:
        """Slots that are free now or would be after eviction."""
        return self.allocator.available + self.cache.evictable

    # -- one step ----------------------------------------------------------------------------------

    def plan(self) -> Step | None:
        """Decide the next step; None when no row can run now."""
        step = Step(self._steps, self.config.capacity)
        before = self.counters.computed_tokens
        budget = self.config.step_tokens
        decoding: list[Sequence] = []
        prefilling: list[Sequence] = []
        for seq in self.running.values():
            if seq.pos < seq.prefill_end:
                prefilling.append(seq)
            elif seq.pos < seq.length < seq.max_length:
                decoding.append(seq)
        rows = decode(self, step, decoding, budget)
        budget -= rows
        if rows and self.config.chunk_tokens is not None:
            budget = min(budget, self.config.chunk_tokens)
        admission = Admission(self, step)
        admission.fill(prefilling, budget)
        if step.empty:
            return None
        if self.tier is not None:
            self.prefetch.fill(admission, step)
            step.plan.moves = self.tier.drain()
        step.computed = self.counters.computed_tokens - before
        self._steps += 1
        self.counters.steps += 1
        self.counters.rows += len(step.plan.positions)
        self.in_flight[step.plan.step] = step
        return step

    def retire(self, step: Step) -> None:
        """The step's KV and tokens are real now: free what waited for it. Its drafts have been
        verified, and what they were is known."""
        for draft in step.drafts:
            self.counters.accepted_tokens += draft.right
            if draft.seq.state == "running":
                draft.seq.settle()
        self.cache.commit(step.plan.step)
        self._close(step)

    def fail(self, step: Step) -> list[Sequence]:
        """The step failed: nothing that it or a later one wrote counts. Returns the running
        sequences it named, for the caller to finish; those that only later steps named start over.

        Call it when the later steps have come to their end, too: it frees what they write.
        """
        self.counters.failed_steps += 1
        number = step.plan.step
        later = [other for key, other in self.in_flight.items() if key > number]
        for lost in self.cache.discard(number):
            self.allocator.free(lost.slots)
        if self.tier is not None:
            self.tier.reset()
        for other in (step, *later):
            other.unwrite()
        for other in (step, *later):
            self._close(other)
        for other in later:
            for seq in other.named.values():
                if seq.state == "running" and seq.id not in step.named:
                    self._retract(seq)
        return [seq for seq in step.named.values() if seq.state == "running"]

    def _close(self, step: Step) -> None:
        del self.in_flight[step.plan.step]
        for slots in self.deferred.pop(step.plan.step, ()):
            self.allocator.free(slots)
        for seq in list(self.leaving.values()):
            self._let_go(seq)

    def _busy(self, seq: Sequence) -> bool:
        """Whether a launched step names it, or may: steps retire in the order of their numbers."""
        return seq.last_step >= next(iter(self.in_flight), math.inf)

    # -- planning one sequence ---------------------------------------------------------------------

    def seat(self, step: Step, seq: Sequence) -> None:
        """A sequence runs from this step on."""
        seq.state = "running"
        seq.seat = self.free_seats.pop()
        seq.prefill_end = seq.known
        if seq.started == 0.0:
            seq.started = self.clock()
        self.running[seq.id] = seq
        step.seat(seq)

    def adopt(self, step: Step, seq: Sequence, slots: Ints, pending: int) -> None:
        """The tree's slots serve the positions from `tree_len` on."""
        start, stop = seq.tree_len, seq.tree_len + len(slots)
        if not len(slots):
            return
        self._defer(seq, seq.table[start : seq.room])
        seq.set_slots(start, slots)
        seq.tree_len = seq.kv_len = seq.room = stop
        seq.pos = max(seq.pos, min(stop, seq.must_run_from))
        step.slots(seq, start, slots)
        usable = min(stop, seq.must_run_from, seq.prompt_len)
        gained = max(0, usable - seq.accounted)
        shared = min(gained, max(0, pending - (stop - usable)))
        self.counters.add(seq, cached=gained - shared, shared=shared)

    def _rematch(self, step: Step, seq: Sequence) -> None:
        """Others may have computed what this sequence was about to."""
        assert seq.node is not None
        stop = begin = max(seq.pos, seq.tree_len)  # what is scored may lie behind what is cached
        while True:  # mostly they have not: look at little first
            stop = min(seq.prefill_end, stop + max(_GLANCE, stop - begin))
            match = self.cache.match(seq.key(stop), seq.namespace, after=seq.node)
            if match.length < stop or stop == seq.prefill_end:
                break
        if match.length > seq.kv_len:
            self.cache.lock(match.node, seq.asked)
            self.cache.unlock(seq.node)
            seq.node = match.node
            self.adopt(step, seq, match.slots, match.pending)

    def run(self, step: Step, seq: Sequence, budget: int) -> int:
        """Plan as many rows of a sequence as it wants and the budget allows; returns how many."""
        prefill, end = seq.prefilling, seq.end
        if prefill and self.config.use_cache:
            if seq.pos < seq.prefill_end and seq.id not in step.named:
                self._rematch(step, seq)
            self._share_row(step, seq)
        start, stop = seq.pos, min(end, seq.pos + budget)
        if prefill:
            stop = step.end_of_scores(seq, start, stop, self.config.scored_rows)
        if start == stop:
            return 0
        if stop > seq.room and not self._grow(step, seq, stop):
            return 0
        write_from = seq.kv_len
        seq.kv_len = max(seq.kv_len, stop)
        seq.pos = stop
        if prefill and self.config.use_cache:
            self._publish(step, seq)
        first = step.rows(seq, start, stop, write_from)
        if prefill:
            self.counters.add_rows(seq, start, stop)
            step.score_rows(seq, start, stop, first)
            step.pool_rows(seq, start, stop, first)
        if stop == end and seq.request.generate:
            place = step.logits(first + stop - 1 - start)
            step.sample(seq, place)
            seq.length += 1
        return stop - start

    def _share_row(self, step: Step, seq: Sequence) -> None:
        """All KV up to the next position's end is there and another row of this step makes its
        logits: use those."""
        at = seq.pos + 1
        if seq.pos != seq.must_run_from or seq.kv_len < at or seq.pooling is not None:
            return
        place = step.recall(seq, at)
        if place is None:
            return
        seq.pos = at
        if seq.request.score_from == at and at < seq.prompt_len and seq.wants_scores:
            step.score(seq, place, at, 1)
        self.counters.add(seq, shared=max(0, min(at, seq.prompt_len) - seq.accounted))
        if at == seq.end and seq.request.generate:
            step.sample(seq, place)
            seq.length += 1

    def _grow(self, step: Step, seq: Sequence, stop: int) -> bool:
        """Get slots for positions up to `stop`, evicting and retracting as needed."""
        page = self.config.page_size
        need = -(-(stop - seq.room) // page) * page
        slots = self.take(need)
        while slots is None:
            victim = memory.victim(self.running.values())
            if victim.id in step.named or self._busy(victim):
                return False  # what it uses cannot be taken from it now
            self._retract(victim)
            if victim is seq:
                return False
            slots = self.take(need)
        seq.set_slots(seq.room, slots)
        step.slots(seq, seq.room, slots)
        seq.room += need
        return True

    def take(self, count: int) -> Ints | None:
        """So many slots, evicting as needed; None where there are too few."""
        short = count - self.allocator.available
        if short > 0:
            self.cache.evict(short)
        return self.allocator.alloc(count)

    def _publish(self, step: Step, seq: Sequence) -> None:
        """New prompt KV enters the tree, pending until the step retires."""
        assert seq.node is not None
        start = seq.tree_len
        added = self._insert(seq, step.plan.step)
        if added is None:
            return
        if len(added.duplicates):
            self._defer(seq, added.duplicates)
            seq.set_slots(start, added.existing)
            step.slots(seq, start, added.existing)
        self.cache.lock(added.node, seq.asked)
        self.cache.unlock(seq.node)
        seq.node = added.node

    def _insert(self, seq: Sequence, pending: int | None = None) -> Insertion | None:
        """What KV of its known tokens is whole pages enters the tree; None where all of it did."""
        page, start = self.config.page_size, seq.tree_len
        stop = min(seq.kv_len, seq.known) // page * page
        if stop <= start:
            return None
        seq.tree_len = stop
        slots = seq.table[start:stop].copy()
        return self.cache.insert(
            seq.key(stop), slots, seq.namespace, after=seq.node, pending=pending, asked=seq.asked
        )

    # -- giving back -------------------------------------------------------------------------------

    def _defer(self, seq: Sequence, slots: Ints) -> None:
        """Free slots once no launched step can write or read them."""
        if not len(slots):
            return
        if self._busy(seq):
            self.deferred.setdefault(max(self.in_flight), []).append(slots.copy())
        else:
            self.allocator.free(slots.copy())

    def _let_go(self, seq: Sequence) -> None:
        if seq.id in self.leaving and not self._busy(seq):
            del self.leaving[seq.id]
            self._release(seq)

    def _release(self, seq: Sequence) -> None:
        """Seat and slots come back; what KV is real and whole enters the tree first, and what is
        no numbers leaves it."""
        if self.config.use_cache and seq.node is not None:
            if seq.node.alive and not seq.spoiled:
                added = self._insert(seq)
                if added is not None and len(added.duplicates):
                    self.allocator.free(added.duplicates)
            self.cache.unlock(seq.node)
            if seq.spoiled:
                self.cache.drop(seq.node)
            seq.node = None
        if seq.room > seq.tree_len:
            self.allocator.free(seq.table[seq.tree_len : seq.room].copy())
        self.free_seats.append(seq.seat)
        seq.clear_kv()

    def _settle(self, seq: Sequence) -> None:
        """Charge what it generated in its seat for what it had been charged ahead."""
        generated = seq.promised - (seq.max_length - seq.known)
        self.waiting.charge(seq.tenant, generated, ahead=-seq.promised)

    def _retract(self, seq: Sequence) -> None:
        """Back to the queue's front; its KV stays in the tree for as long as nobody needs it."""
        self.counters.retractions += 1
        del self.running[seq.id]
        self._settle(seq)
        self._release(seq)
        seq.restart()
        seq.state = "waiting"
        self.waiting.add(seq)

    # -- invariants --------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise InvariantError naming the first broken one (S1-S5, or the tree's own)."""
        invariants.check(self)

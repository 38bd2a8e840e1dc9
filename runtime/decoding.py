"""The rows of a step's sequences that decode: one each, and more of those that bring a draft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sequence import Sequence
from .step import Step

if TYPE_CHECKING:
    from .scheduler import Scheduler


def decode(scheduler: Scheduler, step: Step, seqs: list[Sequence], budget: int) -> int:
    """Plan rows of sequences that decode, `budget` of them at most; returns how many."""
    seqs = seqs[:budget]
    drafting = [seq for seq in seqs if seq.draft]
    if not drafting:
        return _singly(scheduler, step, seqs)
    spare = budget - len(seqs)  # everyone's own row comes first
    drafts: list[tuple[Sequence, tuple[int, ...]]] = []
    for seq in drafting:
        tokens = _guesses(seq, spare)
        if tokens:
            spare -= len(tokens)
            drafts.append((seq, tokens))
    verified = {seq.id for seq, _ in drafts}
    rows = _singly(scheduler, step, [seq for seq in seqs if seq.id not in verified])
    for seq, tokens in drafts:
        rows += _draft(scheduler, step, seq, tokens)
    return rows


def _guesses(seq: Sequence, most: int) -> tuple[int, ...]:
    """What of its draft is worth rows.

    Where its last token is still to be read, the draft's first is presumed to be that one; and as
    nobody knows what a draft comes to before it is read, the sequence sits out the step after it.
    So it must gain two tokens then.
    """
    unread = seq.length - seq.known
    tokens = seq.draft[unread:]
    tokens = tokens[: min(most, seq.max_length - seq.length - 1)]
    return tokens if len(tokens) > unread else ()


def _singly(scheduler: Scheduler, step: Step, seqs: list[Sequence]) -> int:
    """One row of each."""
    full = [seq for seq in seqs if seq.pos == seq.room]
    if full:
        page = scheduler.config.page_size
        slots = scheduler.take(len(full) * page)
        if slots is None:  # too few: one by one, while there are any
            return sum([scheduler.run(step, seq, 1) for seq in seqs if seq.runnable])
        step.grow(full, slots.reshape(-1, page))
    step.decode(seqs)
    step.plan.shared = scheduler.shared_runs.of(seqs)
    return len(seqs)


def _draft(scheduler: Scheduler, step: Step, seq: Sequence, tokens: tuple[int, ...]) -> int:
    """Rows of a draft; where slots are short, of the sequence's last token alone."""
    if not seq.runnable:
        return 0  # retracted meanwhile
    short = seq.pos + 1 + len(tokens) - seq.room
    if short > 0:
        page = scheduler.config.page_size
        slots = scheduler.take(-(-short // page) * page)
        if slots is None:
            return scheduler.run(step, seq, 1)
        step.slots(seq, seq.room, slots)
        seq.set_slots(seq.room, slots)
        seq.room += len(slots)
    step.draft(seq, tokens)
    scheduler.counters.drafted_tokens += len(tokens)
    return 1 + len(tokens)

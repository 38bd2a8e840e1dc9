"""Who gets slots when they are short: room for newcomers, and who is retracted.

Nobody is admitted before the slots it needs for its prompt, and those that all running sequences
may want soon (`headroom` tokens each), are there. The retracted sequence is one of the lowest
priority, and of these the one that loses the least progress: the fewest tokens whose KV nobody else
holds and that it would have to compute again; of equals the youngest. While a step uses it, the
others wait. So the one that is furthest among the most important is never retracted, and finishes.

What is retracted twice would be retracted again: while somebody runs, or wants to, who was
retracted r times, the headroom of all is 2 to the r times as large, up to all they may still
generate. After it is let in again, slots cannot run short for that many steps, so that no sequence
is retracted more than about log2(max_tokens / headroom) + 2 times, and none computes its tokens
again more often.
"""

from __future__ import annotations

from collections.abc import Iterable

from .sequence import Sequence


class Room:
    """What the running sequences of a step being planned will want soon."""

    def __init__(self, running: Iterable[Sequence], headroom: int) -> None:
        self._running = list(running)
        self._headroom = headroom
        self._most = max([seq.retractions for seq in self._running], default=0)
        self._wanted: dict[int, int] = {}  # by how often the headroom was doubled

    def admitted(self, seq: Sequence) -> None:
        """One more runs, and has taken its first slots."""
        self._running.append(seq)
        if seq.retractions > self._most:
            self._most = seq.retractions
        for doubled in self._wanted:
            self._wanted[doubled] += self._wants(seq, doubled)

    def beside(self, newcomer: Sequence) -> int:
        """Slots to leave free beside those of the newcomer's prompt."""
        doubled = max(self._most, newcomer.retractions)
        wanted = self._wanted.get(doubled)
        if wanted is None:
            wanted = sum([self._wants(seq, doubled) for seq in self._running])
            self._wanted[doubled] = wanted
        return wanted + (self._ahead(newcomer, doubled) if doubled else 0)

    def _wants(self, seq: Sequence, doubled: int) -> int:
        return max(0, seq.prefill_end - seq.kv_len) + self._ahead(seq, doubled)

    def _ahead(self, seq: Sequence, doubled: int) -> int:
        headroom = self._headroom if not doubled else max(1, self._headroom) << min(doubled, 40)
        return min(max(0, seq.last_input - seq.length), headroom)


def progress(seq: Sequence) -> int:
    """Tokens that it alone holds KV of: lost if it is retracted and its slots are given away."""
    lost, node = seq.kv_len - seq.tree_len, seq.node
    while node is not None and node.parent is not None and node.holds == 1:
        lost += node.size
        node = node.parent
    return lost


def victim(running: Iterable[Sequence]) -> Sequence:
    """Whom to retract, by the rule above. running: the oldest first, at least one."""
    best: Sequence | None = None
    least = (0, 0)
    for seq in running:
        loss = (seq.priority, progress(seq))
        if best is None or loss <= least:
            best, least = seq, loss
    assert best is not None
    return best

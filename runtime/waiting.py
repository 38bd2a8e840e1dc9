"""The waiting queue: who enters next.

Order: retracted sequences first; then namespaces take turns by their shares, and inside each goes
higher priority, which waiting raises, then the longest cached prefix (or what the policy has in its
place), then arrival (lanes.py). The one that has waited longest is passed over at most `age_bound`
times, then it goes before all but retracted ones, so nobody starves. Each sequence hangs on the
tree node where its match ends: the tree reports those whose depth changed, so that a step's cost
does not grow with the queue.

Nor with how many a change of the tree concerns: a step looks at `moves` of them at most. Beyond,
the order lags: a sequence whose prefix grew keeps its place until it is looked at (those of one
change in the order they came, n of them within 4/3 n / moves steps that admit), and one whose
prefix shrank until then, or until it is first and is looked at before it is believed.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .lanes import Lanes
from .lazy_heap import LazyHeap
from .options import SchedulePolicy
from .sequence import Sequence

if TYPE_CHECKING:
    from ..radix_cache.tree import RadixCache
    from ..radix_cache.watch import Watcher

_Entry = tuple[int, int, int, int, Sequence]
_RETURNED = 256  # retracted ones that wait; no more than have run at once


class WaitingQueue:
    """A priority queue whose ranks follow the tree. `cache` None: no prefixes, arrival order.
    moves: watchers looked at per step, at some 5 us each; a quarter of them those who are first."""

    def __init__(
        self,
        cache: RadixCache | None,
        *,
        age_bound: int = 256,
        ageing: float = 10.0,
        shares: dict[str, float] | None = None,
        moves: int = 256,
        policy: SchedulePolicy = "lpm",
    ) -> None:
        self._cache = cache
        self._policy = policy
        self._moves = self._looks = moves
        self._age_bound = age_bound
        self._live: dict[int, int] = {}  # sequence id -> number of its entry that counts
        self._lanes = Lanes(self._live, shares or {}, ageing)
        self._returned: LazyHeap[_Entry] = LazyHeap(
            self._counts
        )  # retracted ones, of any namespace
        self._by_age: OrderedDict[int, Sequence] = OrderedDict()
        self._watchers: dict[int, Watcher] = {}
        self._arrivals = self._pushes = self._passed_over = 0

    def __len__(self) -> int:
        return len(self._by_age)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._by_age.values())

    def __contains__(self, seq: Sequence) -> bool:
        return seq.id in self._by_age

    def add(self, seq: Sequence) -> None:
        """Enter the queue. A retracted sequence goes to its front."""
        self._by_age[seq.id] = seq
        if seq.retracted:
            self._by_age.move_to_end(seq.id, last=False)
        else:
            self._arrivals += 1
            seq.arrival = self._arrivals
            self._lanes.add(seq)
        depth = 0
        if self._cache is not None:
            watcher = self._cache.watch(seq.key(seq.known), seq.namespace, seq)
            self._watchers[seq.id] = watcher
            depth, seq.asked = watcher.depth, watcher.asked
        self._push(seq, depth)

    def begin_step(self) -> None:
        """Another step is planned, which may look at so many watchers again."""
        self._looks = self._moves

    def peek(self) -> Sequence | None:
        """Who enters next, or None when nobody waits."""
        if not self._by_age:
            return None
        if self._passed_over >= self._age_bound:
            return next(iter(self._by_age.values()))
        self._follow_tree()
        returned = self._returned.first()
        return self._first() if returned is None else returned[4]

    def depth(self, seq: Sequence) -> int:
        """How much of a waiting sequence is cached."""
        return self._watchers[seq.id].depth if self._cache is not None else 0

    def remove(self, seq: Sequence) -> None:
        """Leave the queue (to run, or for good)."""
        if not seq.retracted:
            oldest = next(other for other in self._by_age.values() if not other.retracted)
            self._passed_over = 0 if oldest is seq else self._passed_over + 1
        del self._by_age[seq.id], self._live[seq.id]
        if self._cache is not None:
            self._cache.unwatch(self._watchers.pop(seq.id))
        if not seq.retracted:
            self._lanes.remove(seq)

    def charge(self, tenant: str, tokens: int, ahead: int = 0) -> None:
        """So many tokens are served to a tenant, and so many more promised (or no longer, below 0):
        both count against its share."""
        self._lanes.charge(tenant, tokens, ahead)

    def _push(self, seq: Sequence, depth: int) -> None:
        self._pushes += 1
        self._live[seq.id] = self._pushes
        rank = self._rank(seq, depth)
        if seq.retracted:
            entry = (-seq.priority, rank, seq.arrival, self._pushes, seq)
            self._returned.push(entry)
            self._returned.sweep(_RETURNED)
        else:
            self._lanes.push(seq, rank, self._pushes)

    def _rank(self, seq: Sequence, depth: int) -> int:
        """Its place among those of its priority, lower first."""
        if self._policy == "lpm":
            return -depth
        return 0 if self._policy == "fcfs" else random.Random(seq.arrival).getrandbits(32)

    def _counts(self, entry: _Entry) -> bool:
        return self._live.get(entry[4].id) == entry[3]

    def _follow_tree(self) -> None:
        kept = self._moves // 4
        while self._looks > kept and self._hear():
            self._looks -= 1

    def _hear(self) -> bool:
        """One sequence's place follows its depth; False when all do."""
        watcher = None if self._cache is None else self._cache.next_moved()
        if watcher is None:
            return False
        seq = watcher.owner
        if isinstance(seq, Sequence) and self._watchers.get(seq.id) is watcher:
            self._push(seq, watcher.depth)
        return True

    def _first(self) -> Sequence | None:
        """The first of the lanes; looked at, lest its place be one it has lost."""
        while (seq := self._lanes.first()) is not None and self._looks:
            watcher = self._watchers.get(seq.id)
            if watcher is None or not watcher.loose:
                break
            self._looks -= 1
            believed = watcher.found
            if watcher.depth == believed:
                break
            self._hear()  # of this one, which moved last
        return seq

"""How soon a cached run is likely to be used again, learned from what was.

Hit density (after Beckmann, Chen and Cidon, LHD, NSDI 2018): of the runs that were used k times
and not since, the share that is used again before some later age, over the time until then, for the
best such later age. It is what a slot earns by staying. Under a steady loop longer than the cache
it is the youngest that earn the least, under a working set that drifts the oldest, and of what
nobody asks for twice all earn nothing: no rule is set beforehand.

Time counts in requests made, not in those served. A run's age is the number of requests made since
its last use: all of them have had the chance to want it. Those that do are waiting, and keep it by
that; so a use by one that waited already at the last use teaches nothing, and takes the run out of
what had been used so often with the future open.

Runs that were evicted are remembered for a while by the hash of their prefix (lost.py), so that
uses that came too late are learned from, too; without them a loop that never hits would teach
nothing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .leaves import USES_AT, Leaves
from .lost import Lost, place_of
from .node import Node
from .runs import WIDTH, Ints

_CLASSES = 3  # used once, twice, more often
_PER_OCTAVE = 4
_BIN_BITS = 7
_BINS = 1 << _BIN_BITS
_FINEST = 0.25  # requests; ages below it are one
_SAMPLE = 256  # leaves looked at per choice
CHOSEN = 8  # of them, to go one after another
_FEW = 128  # leaves: of so many all are looked at for each that goes
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_EDGES = _FINEST * (2.0 ** (np.arange(_BINS + 1) / _PER_OCTAVE) - 1)


class Reuse:
    """What is known of uses, and the choice of the leaf that earns the least.

    capacity: slots, the scale of what is worth remembering. clock: tokens used so far. requests:
    those made so far.
    """

    def __init__(self, capacity: int) -> None:
        self.clock = 0
        self.requests = 0
        self.leaves = Leaves(capacity)
        self._capacity = capacity
        self._hits = np.zeros((_CLASSES, _BINS))
        self._entered = np.zeros(_CLASSES)
        self._density = np.zeros((1 + _CLASSES, _BINS))  # by uses, from 1 on
        self._youngest = self._density  # the least density at this age or a younger one
        self._built_at = -1
        self._lost = Lost()
        self._chosen: list[tuple[Node, int]] = []  # with their ranks then; the worst is the last
        self._trimmed: Node | None = None
        self._cut = 0  # what was cut off it, in `_lost`
        self._powers = _powers(4096)

    # What happens to nodes

    def ask(self) -> int:
        """A request is made; returns its number."""
        self.requests += 1
        return self.requests

    def remembered(self, parent: Node, run: bytes, page: int) -> int:
        """How many bytes of `run`, from its beginning on, were evicted from below `parent` as one
        and are remembered; all of them where none is."""
        known = self._lost.get(place_of(parent.digest, run[:page]))
        return len(run) if known is None else min(len(run), known[2] * WIDTH)

    def attached(self, node: Node, page: int, asked: int) -> None:
        """`node` is new under its parent: its first use, unless it was here before. asked: the
        number of the request that brings it."""
        parent = node.parent
        assert parent is not None
        node.digest = self._digest(parent.digest, node.run)
        node.uses = 0
        known = self._lost.pop(place_of(parent.digest, node.run[:page]))
        if known is not None:
            seen, node.uses, lost = known
            self._used_again(node.uses, seen, lost, asked)
        self._enter(node)

    def used(self, node: Node, asked: int) -> None:
        """Somebody takes hold of `node`, and so of all above it, which count only if held by
        nobody else. asked: the number of the request that wants it."""
        if node.used_at == self.clock or not node.end:
            return  # it is the use that brought it, or a root
        self._used_again(node.uses, node.seen, node.size, asked)
        self._enter(node)

    def split(self, lower: Node, upper: Node) -> None:
        """`upper` took the upper half of `lower`."""
        parent = upper.parent
        assert parent is not None
        upper.digest = self._digest(parent.digest, upper.run)
        upper.uses, upper.used_at, upper.seen = lower.uses, lower.used_at, lower.seen

    def evicted(self, leaf: Node, parent: Node, page: int) -> None:
        """`leaf` is about to leave. What is left of its run, its parent, is the next to go."""
        size = leaf.size
        if leaf is self._trimmed:  # the run's pieces are remembered as one
            cut = self._lost.get(self._cut)
            if cut is not None and cut[:2] == (leaf.seen, leaf.uses):
                self._lost.pop(self._cut)
                size += cut[2]
        self._cut = place_of(parent.digest, leaf.run[:page])
        self._lost.put(self._cut, leaf.seen, leaf.uses, size)
        rest = parent.used_at == leaf.used_at and parent.uses == leaf.uses
        self._trimmed = parent if rest else None

    # The choice

    def worst(self, spare: bool = False) -> Node | None:
        """The evictable leaf that earns the least, of those looked at; None if there is none.

        One that a waiting request wants goes after all that none does. spare: not one that is
        wanted, nor one than which better ones to evict come as soon as those that run now are done.
        """
        trimmed = self._trimmed
        if trimmed is not None and trimmed in self.leaves and not self.leaves.wanted(trimmed):
            return trimmed
        self._trimmed = None
        best = self._next()
        if spare and best is not None and (self.leaves.wanted(best) or self._later(best)):
            return None
        return best

    def _next(self) -> Node | None:
        """The first of those chosen that are there still, and as they were."""
        leaves = self.leaves
        if not leaves:
            return None
        self._build()
        few = leaves.foremost <= _FEW
        while self._chosen and not few:
            node, rank = self._chosen[-1]
            if 0 <= node.place < leaves.foremost and leaves.rank_of(node) == rank:
                return node
            self._chosen.pop()
        self._choose(1 if few else CHOSEN)
        return self._chosen[-1][0]

    def _choose(self, count: int) -> None:
        """Looks at some of the leaves and keeps those that earn the least; of equals those used
        fewer times, then those used first.

        A choice costs the same for one as for several, and those who come to be leaves while
        several go would be a small part of what is looked at. Few leaves are all looked at.
        """
        leaves = self.leaves
        places = leaves.sample(_SAMPLE)
        ranks = leaves.rank[places]
        bins = _bins(self.requests - leaves.seen[places])
        earns = self._density.take((ranks >> (USES_AT - _BIN_BITS)) + bins)
        worst = np.lexsort((ranks, earns))[count - 1 :: -1]
        nodes = [leaves[place] for place in places[worst].tolist()]
        self._chosen = list(zip(nodes, ranks[worst].tolist(), strict=True))

    def _later(self, node: Node) -> bool:
        """Whether what running requests leave soon will earn less: runs used once, or as often as
        `node`, at its age or a younger one."""
        age = _bin(self.requests - node.seen)
        earns = self._density[node.uses, age]
        ours, fresh = self._youngest[node.uses, age], self._youngest[1, age]
        return (earns, node.uses) > min((ours, node.uses), (fresh, 1))

    def _used_again(self, uses: int, seen: int, size: int, asked: int) -> None:
        """`size` tokens are used that had been `uses` times, the last time after `seen` requests
        were made."""
        if asked > seen:
            self._hits[uses - 1, _bin(asked - seen)] += size
        else:
            self._entered[uses - 1] -= size

    def _enter(self, node: Node) -> None:
        node.uses = min(node.uses + 1, _CLASSES)
        self._entered[node.uses - 1] += node.size
        self.clock += node.size
        node.used_at = self.clock
        node.seen = self.requests

    def _build(self) -> None:
        """Densities by class and age, anew when enough has happened."""
        if self._built_at >= 0 and self.clock - self._built_at < self._capacity // 64:
            return
        self._built_at = self.clock
        self._chosen.clear()
        if self._entered.sum() > 64 * self._capacity:
            self._entered /= 2
            self._hits /= 2
        pairs = zip(self._hits, self._entered, strict=True)
        self._density[1:] = [_densities(hits, entered) for hits, entered in pairs]
        self._youngest = np.minimum.accumulate(self._density, axis=1)

    def _digest(self, before: int, run: bytes) -> int:
        """A hash of a prefix that does not depend on how it is split into runs."""
        keys = np.frombuffer(run, np.uint64)
        count = len(keys)
        if count >= len(self._powers):
            self._powers = _powers(2 * count)
        powers = self._powers
        own = int(np.dot(keys + np.uint64(1), powers[count - 1 :: -1] if count else powers[:0]))
        return (before * int(powers[count]) + own) & 0xFFFFFFFFFFFFFFFF


def _powers(count: int) -> npt.NDArray[np.uint64]:
    factors = np.full(count, _MULTIPLIER, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


def _bin(age: int) -> int:
    return min(_BINS - 1, int(_PER_OCTAVE * math.log2(age / _FINEST + 1)))


def _bins(ages: npt.NDArray[np.float64]) -> Ints:
    """`_bin` of each age; spoils `ages`."""
    np.minimum(ages, _EDGES[-2], out=ages)
    ages *= 1 / _FINEST
    ages += 1
    np.log2(ages, out=ages)
    ages *= _PER_OCTAVE
    return ages.astype(np.int64)


def _densities(hits: npt.NDArray[np.float64], entered: float) -> npt.NDArray[np.float64]:
    """By age: the best of (share used again until a later age) / (tokens until then)."""
    if not hits.any():
        return np.zeros(_BINS)
    last = int(np.flatnonzero(hits)[-1]) + 1
    before = np.concatenate(([0.0], np.cumsum(hits[:last])))
    # Halved, or entered in another class before a split, they may seem fewer than were used again.
    left = np.maximum(max(entered, before[-1]) - before[:-1], 1e-9)
    gained = before[None, 1:] - before[:-1, None]
    until = np.maximum(_EDGES[None, 1 : last + 1] - _EDGES[:last, None], _FINEST)
    shares = np.triu(gained / until)
    found = np.zeros(_BINS)
    found[:last] = shares.max(axis=1) / left
    return found

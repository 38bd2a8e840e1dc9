"""What a bounded prefix cache computes that serves prompts one after another, in a given order.

Two rules: Belady's, which knows the future and gives up the leaf whose next use is furthest away,
and LRU. Both on the trie of all prompts, whose nodes are the runs of tokens that the same prompts
use, and which lose tokens from their ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal

Prompt = Sequence[int]
Rule = Literal["belady", "lru"]


class Run:
    """A run of tokens that the same prompts use. uses: their numbers, ascending; cached: tokens
    from its beginning on; alive: children of which something is cached."""

    __slots__ = ("alive", "cached", "next", "parent", "size", "uses")

    def __init__(self, parent: Run | None, size: int, uses: list[int]) -> None:
        self.parent = parent
        self.size = size
        self.uses = uses
        self.next = 0  # index into uses of the first one to come
        self.cached = 0
        self.alive = 0


def paths(prompts: Sequence[Prompt]) -> list[list[Run]]:
    """The runs of each prompt, first to last."""
    made: list[list[Run]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    todo: list[tuple[list[int], int, Run | None]] = [(order, 0, None)]
    while todo:  # sorted prompts that agree up to `start`
        group, start, parent = todo.pop()
        group = [i for i in group if len(prompts[i]) > start]
        first = 0
        while first < len(group):
            token = prompts[group[first]][start]
            last = first
            while last < len(group) and prompts[group[last]][start] == token:
                last += 1
            same, first = group[first:last], last
            low, high = prompts[same[0]], prompts[same[-1]]
            stop = start + 1
            while stop < len(low) and stop < len(high) and low[stop] == high[stop]:
                stop += 1
            run = Run(parent, stop - start, sorted(same))
            for i in same:
                made[i].append(run)
            todo.append((same, stop, run))
    return made


class Cache:
    """Tokens of a trie, at most `capacity` of them."""

    def __init__(self, capacity: int, rule: Rule) -> None:
        self._capacity = capacity
        self._rule = rule
        self._used = 0
        self._heap: list[tuple[int, int, Run]] = []  # leaves; stale where the key has changed
        self._pushes = 0

    def serve(self, path: Sequence[Run]) -> int:
        """Compute the next prompt; returns how many of its tokens were not cached."""
        total = sum(run.size for run in path)
        cached = 0
        for run in path:
            cached += run.cached
            if run.cached < run.size:
                break
        for run in path:
            run.next += 1
        short = self._used + total - cached - self._capacity
        self._evict(short, set(map(id, path)))
        for run in path:
            if not run.cached and run.parent is not None:
                run.parent.alive += 1
            self._used += run.size - run.cached
            run.cached = run.size
        self._push(path[-1])
        return total - min(cached, total - 1)

    def _key(self, run: Run) -> int:
        """The greatest goes first."""
        if self._rule == "lru":
            return -run.uses[run.next - 1]
        return run.uses[run.next] if run.next < len(run.uses) else 1 << 60

    def _push(self, run: Run) -> None:
        self._pushes += 1
        heapq.heappush(self._heap, (-self._key(run), -self._pushes, run))

    def _evict(self, short: int, path: set[int]) -> None:
        held = []
        while short > 0 and self._heap:
            key, _, run = heapq.heappop(self._heap)
            if not run.cached or run.alive or -key != self._key(run):
                continue
            if id(run) in path:
                held.append(run)
                continue
            given = min(short, run.cached)
            run.cached -= given
            self._used -= given
            short -= given
            if run.cached:
                self._push(run)
            elif run.parent is not None:
                run.parent.alive -= 1
                if not run.parent.alive:
                    self._push(run.parent)
        for run in held:
            self._push(run)
        if short > 0:
            raise ValueError(f"a capacity of {self._capacity} is less than a prompt")


def distinct(prompts: Sequence[Prompt]) -> int:
    """Tokens of the trie."""
    runs = {id(run): run.size for path in paths(prompts) for run in path}
    return sum(runs.values())


def computed(prompts: Sequence[Prompt], capacity: int, rule: Rule) -> int:
    """Tokens computed when the prompts are served one by one. The last token of each is."""
    cache = Cache(capacity, rule)
    runs = paths(prompts)
    return sum(cache.serve(path) for path in runs)

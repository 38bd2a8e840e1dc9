"""The radix cache at 1e3 to 1e6 nodes: match and lock, insert, evict, watch, memory, slots.

Process CPU time, so that a busy neighbour does not show; medians over many calls. The collector is
frozen once a tree is built, as an engine does: one pass over 1e6 nodes takes it most of a second.
Takes about a minute.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ..radix_cache import Node, RadixCache, SlotAllocator
from ..radix_cache.reuse import CHOSEN
from ..radix_cache.runs import Ints
from .plot import growth
from .report import Row, finish, parser

SIZES = (1_000, 10_000, 100_000, 1_000_000)
POOLS = (10_000, 100_000, 1_000_000, 10_000_000)
WAITING = (100, 1_000, 10_000, 100_000)
PREFIX = 4096
PATHS = 48  # distinct prefixes measured in turn, so that none stays in the nearest cache
Call = Callable[[], object]


class Rows:
    """Figures by name and size, and how each grows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._series: dict[str, list[tuple[int, float]]] = {}

    def add(self, name: str, size: int, value: float, unit: str = "us") -> None:
        """One figure at one size."""
        self.rows.append(Row(name=f"{name} @ {size:.3g}", value=round(value, 3), unit=unit))
        self._series.setdefault(name, []).append((size, value))

    def slopes(self) -> list[Row]:
        """Log-log slopes of the figures measured at three sizes or more."""
        found = []
        for name, points in self._series.items():
            if len(points) > 2 and all(value > 0 for _, value in points):
                logs = [(math.log(size), math.log(value)) for size, value in points]
                slope = statistics.linear_regression(*zip(*logs, strict=True)).slope
                found.append(Row(name=f"{name}: slope", value=round(slope, 3), unit="log/log"))
        return found


def microseconds(calls: Iterator[Call], together: int = 1) -> float:
    """Median CPU microseconds of a call; what the iterator does between calls is not timed.

    together: where one call does work for later ones, so many in a row count by their mean.
    """
    spent: list[int] = []
    clock = time.process_time_ns
    for call in calls:
        begin = clock()
        call()
        spent.append(clock() - begin)
    empty: list[int] = []
    for _ in range(200):
        begin = clock()
        empty.append(clock() - begin)
    means = [statistics.fmean(group) for group in zip(*[iter(spent)] * together, strict=False)]
    return (statistics.median(means) - statistics.median(empty)) / 1000


def insert(cache: RadixCache, key: Ints, after: Node | None = None) -> Node:
    """Inserts `key` with new slots, and frees those that were duplicates."""
    start = 0 if after is None else after.end
    slots = cache.allocator.alloc(len(key) - start)
    if slots is None:
        raise MemoryError("the benchmark's pool is too small")
    done = cache.insert(key, slots, after=after)
    cache.allocator.free(done.duplicates)
    return done.node


def bushy(cache: RadixCache, nodes: int, rng: np.random.Generator) -> None:
    """Headers of 8 tokens under the root, each with three endings of 4: four nodes a header."""
    headers = rng.integers(0, 1 << 40, (nodes // 4, 8))
    endings = rng.integers(0, 1 << 40, (nodes // 4, 3, 4))
    for header, tails in zip(headers, endings, strict=True):
        for tail in tails:
            insert(cache, np.concatenate((header, tail)))


def chain(cache: RadixCache, nodes: int, rng: np.random.Generator) -> Ints:
    """A prefix of 4096 tokens, cached in `nodes` nodes one below the other."""
    key = rng.integers(0, 1 << 40, PREFIX)
    node: Node | None = None
    for end in range(PREFIX // nodes, PREFIX + 1, PREFIX // nodes):
        node = insert(cache, key[:end], node)
    return key


def time_match(cache: RadixCache, keys: list[Ints], rounds: int = 6) -> tuple[float, float]:
    """CPU microseconds of match + lock, and of unlock."""
    taken: list[Node] = []

    def take(key: Ints) -> None:
        found = cache.match(key)
        cache.lock(found.node)
        taken.append(found.node)

    def matching() -> Iterator[Call]:
        for _ in range(rounds):
            for key in keys:
                yield partial(take, key)
                cache.unlock(taken.pop())

    def unlocking() -> Iterator[Call]:
        for key in keys:
            take(key)
            yield lambda: cache.unlock(taken.pop())

    return microseconds(matching()), microseconds(unlocking())


def time_insert(cache: RadixCache, rng: np.random.Generator) -> float:
    """CPU microseconds to insert a chunk of 512 tokens under a locked prefix."""

    def give(key: Ints, slots: Ints, after: Node | None, done: list[Node]) -> None:
        done.append(cache.insert(key, slots, after=after).node)

    def inserting() -> Iterator[Call]:
        for _ in range(20):
            key = rng.integers(0, 1 << 40, PREFIX)
            node: Node | None = None
            for end in range(512, PREFIX + 1, 512):
                slots = cache.allocator.alloc(512)
                if slots is None:
                    raise MemoryError("the benchmark's pool is too small")
                part, done = key[:end], list[Node]()
                yield partial(give, part, slots, node, done)
                cache.lock(done[0])
                if node is not None:
                    cache.unlock(node)
                node = done[0]
            if node is not None:
                cache.unlock(node)

    return microseconds(inserting())


def time_watch(cache: RadixCache, waiting: int, rng: np.random.Generator) -> float:
    """CPU microseconds to insert 512 tokens while `waiting` others wait for something else."""
    keys = rng.integers(0, 1 << 40, (waiting, 16))
    watchers = [cache.watch(key, "", None) for key in keys]
    spent = time_insert(cache, rng)
    for watcher in watchers:
        cache.unwatch(watcher)
    return spent


def resident() -> int:
    """Bytes of resident memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_tree(size: int, rows: Rows) -> None:
    """All figures of one tree size."""
    rng = np.random.default_rng(0)
    cache = RadixCache(SlotAllocator(size * 5 + 1_500_000))
    bushy(cache, size, rng)
    gc.collect()
    gc.freeze()
    for nodes in (1, 4, 16, 64):
        keys = [chain(cache, nodes, rng) for _ in range(PATHS if nodes < 64 else 16)]
        taken, given = time_match(cache, keys)
        rows.add(f"match+lock {PREFIX} tokens in {nodes} nodes", size, taken)
        if nodes == 16:
            rows.add(f"unlock {PREFIX} tokens in {nodes} nodes", size, given)
    rows.add("insert 512 tokens", size, time_insert(cache, rng))
    whole, trimmed = [lambda: cache.evict(4)] * 100, [lambda: cache.evict(1)] * 100
    rows.add("evict one leaf", size, microseconds(iter(whole)))
    rows.add("evict a leaf's tail", size, microseconds(iter(trimmed)))
    rows.add(
        "evict a leaf, 100 at once", size, microseconds(iter([lambda: cache.evict(400)])) / 100
    )
    gc.unfreeze()


def measure_density(size: int, rows: Rows) -> None:
    """Eviction by the policy that is the engine's default; above it is LRU's. It chooses several
    leaves at a time. In a row, and each after an insertion, which is how an engine asks."""
    rng = np.random.default_rng(0)
    cache = RadixCache(SlotAllocator(size * 5 + 100), policy="density")
    bushy(cache, size, rng)
    gc.collect()
    gc.freeze()
    count = min(400, size // 8)
    in_a_row = iter([lambda: cache.evict(4)] * count)
    rows.add("evict one leaf, by hit density", size, microseconds(in_a_row, CHOSEN))

    def after_insertions() -> Iterator[Call]:
        for _ in range(count):
            insert(cache, rng.integers(0, 1 << 40, 4))
            yield lambda: cache.evict(4)

    spent = microseconds(after_insertions(), CHOSEN)
    rows.add("evict one leaf, by hit density, after an insertion", size, spent)
    gc.unfreeze()


def measure_memory(rows: Rows, nodes: int) -> None:
    """Bytes per node beside its runs (16 per token) and the allocator's bookkeeping (16)."""
    kept: list[RadixCache] = []  # so that the second shape does not live in the first one's memory
    for shape in ("bushy", "chains"):
        rng = np.random.default_rng(1)
        gc.collect()
        before = resident()
        cache = RadixCache(SlotAllocator(nodes * 9))
        if shape == "bushy":
            bushy(cache, nodes, rng)
        else:
            for _ in range(nodes // 16):
                key, node = rng.integers(0, 1 << 40, 128), None
                for end in range(8, 129, 8):
                    node = insert(cache, key[:end], node)
        stats = cache.stats()
        spent = resident() - before - stats.tokens * 32
        rows.add(f"memory per node beside its runs, {shape}", nodes, spent / stats.nodes, "B")
        kept.append(cache)


def measure_waiting(rows: Rows, lengths: Sequence[int]) -> None:
    """By length of the queue: insertion of what nobody waits for, and of what all wait for."""
    cache = RadixCache(SlotAllocator(1_500_000))
    for waiting in lengths:
        spent = time_watch(cache, waiting, np.random.default_rng(2))
        rows.add("insert 512 tokens, by requests waiting", waiting, spent)
    keys = np.random.default_rng(3).integers(0, 1 << 40, (lengths[-1], 600))
    keys[:, :512] = keys[0, :512]
    for key in keys:
        cache.watch(key, "", None)
    spent = microseconds(iter([lambda: insert(cache, keys[0, :512])]))
    rows.add("insert 512 tokens that all wait for", lengths[-1], spent)
    spent = microseconds(iter([lambda: cache.next_moved()] * lengths[-1]))
    rows.add("move one waiting request on", lengths[-1], spent)


def measure_slots(rows: Rows, pools: Sequence[int]) -> None:
    """The allocator by pool size."""
    for capacity in pools:
        begin = time.process_time_ns()
        pool = SlotAllocator(capacity)
        rows.add("make a pool", capacity, (time.process_time_ns() - begin) / 1000)
        taken: list[Ints] = []
        for again in (False, True):
            taken.clear()

            def take(pool: SlotAllocator = pool, taken: list[Ints] = taken) -> None:
                slots = pool.alloc(512)
                if slots is not None:
                    taken.append(slots)

            spent = microseconds(iter([take] * 15))
            if again:  # the first time also pays for touching new memory
                rows.add("alloc 512 slots", capacity, spent)
            frees = [partial(pool.free, slots) for slots in taken]
            spent = microseconds(iter(frees))
            if again:
                rows.add("free 512 slots", capacity, spent)


def measure(
    sizes: Sequence[int] = SIZES, pools: Sequence[int] = POOLS, waiting: Sequence[int] = WAITING
) -> list[Row]:
    """All rows, slopes last."""
    rows = Rows()
    measure_memory(rows, max(sizes) // 5)
    measure_slots(rows, pools)
    measure_waiting(rows, waiting)
    for size in sizes:
        measure_tree(size, rows)
        measure_density(size, rows)
    return rows.rows + rows.slopes()


def plot(rows: Sequence[Row]) -> str:
    """The rows' growth as SVG."""
    return growth("The radix cache's CPU time", "nodes, slots of a pool, or requests waiting", rows)


def main(argv: Sequence[str]) -> int:
    """`espalier bench radix`."""
    options = parser("radix", __doc__ or "", plot="a plot of the growth")
    args = options.parse_args(argv)
    rows = measure()
    if args.svg is not None:
        args.svg.write_text(plot(rows))
    finish("radix", argv, args.json, rows)
    return 0

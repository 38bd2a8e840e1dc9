"""RadixCache: which prefixes have their KV cached, in which slots, and for whom.

One thread uses it. It moves no KV: keys and slots are int64 arrays, ints go in and ints come out.
A key holds one cache key per token (the token ids, unless a caller has a better one); only whole
pages of `allocator.page_size` tokens are shared. Namespaces never meet.

Who owns a slot (docs/adr/0002-slots-and-who-owns-them.md): from `insert` on the tree does, but for
the duplicates it hands back; `evict` gives slots to the allocator, `discard` to the caller.
The numbered invariants are in invariants.py; `check_invariants` names the one that broke.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator

from ..errors import InvalidRequestError, InvariantError
from . import eviction, invariants
from .explain import Explanation, Loss, Losses, explain
from .layout import KVLayout
from .node import Node
from .pins import Pin
from .results import CacheStats, Discarded, Insertion, Match, NodeView
from .reuse import Reuse
from .runs import WIDTH, Ints, join, to_run
from .slots import SlotAllocator
from .structure import Structure
from .view import TreeView, view, walk
from .walk import descend
from .watch import Watcher

POLICIES = ("lru", "density")


class RadixCache:
    """The prefix tree over one allocator's slots.

    layout: what a slot holds; kept for others to read, and refused if the tree cannot keep it.
    policy: which leaf is evicted first (eviction.py). pin_share: the part of the capacity that
    pins may cover at most. clock: seconds, for the expiry of pins and the record of
    evictions. leaving: is told of each leaf that `evict` is about to take out.
    """

    def __init__(
        self,
        allocator: SlotAllocator,
        *,
        layout: KVLayout | None = None,
        policy: str = "lru",
        pin_share: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        leaving: Callable[[Node], None] | None = None,
    ) -> None:
        if policy not in POLICIES:
            raise InvalidRequestError(
                expected=f"one of {', '.join(POLICIES)}", got=repr(policy), where="policy"
            )
        if not 0 <= pin_share <= 1:
            raise InvalidRequestError(
                expected="a share in 0..1", got=repr(pin_share), where="pin_share"
            )
        if layout is not None:
            layout.require_supported()
        self.allocator = allocator
        self.layout = layout
        self.page_size = allocator.page_size
        self._clock = clock
        self._leaving = leaving
        pages = math.floor(allocator.capacity * pin_share) // self.page_size
        self._pin_room = pages * self.page_size
        reuse = Reuse(allocator.capacity) if policy == "density" else None
        self._structure = Structure(self.page_size, reuse)
        self._page = self._structure.page_bytes
        self._losses = Losses(self._page)
        self._step: int | None = None
        self._evicted = 0
        self._discarded = 0
        self._duplicated = 0

    # Finding

    def match(self, key: Ints, namespace: str = "", *, after: Node | None = None) -> Match:
        """The longest cached prefix of `key`, as a handle that ends exactly there.

        Splits a node where the match ends inside it, and counts as a use of the whole path.
        after: a living node (lock it) whose path equals key[:after.end], which is not looked at
        again: `length` stays absolute, `slots` and `pending` are of what follows it.
        """
        top = self._top(key, namespace, after)
        path = self._find(top, to_run(key, top.end))
        slots = join([node.slot_run for node in path])
        if not path:
            self._structure.touch(top)
            return Match(top.end, slots, top, 0)
        last = path[-1]
        self._structure.touch(last)
        pending = 0
        if self._structure.pending:
            pending = sum(node.size for node in path if node.pending is not None)
        return Match(last.end, slots, last, pending)

    def peek(self, key: Ints, namespace: str = "") -> int:
        """`match(key, namespace).length`, without splitting or counting as a use."""
        root = self._structure.roots.get(namespace)
        if root is None:
            return 0
        path, _, at = descend(root, to_run(key), self._page)
        return (path[-1].end if path else 0) + at // WIDTH

    def _find(self, top: Node, data: bytes) -> list[Node]:
        """The nodes below `top` that `data` matches; the last is split to end with the match."""
        path, inside, at = descend(top, data, self._page)
        if inside is not None:
            path.append(self._structure.split(inside, at))
        return path

    def _top(self, key: Ints, namespace: str, after: Node | None) -> Node:
        """Where a walk begins. A missing namespace's root is made, and not kept."""
        if after is not None:
            if after.namespace != namespace or after.end > len(key):
                raise InvalidRequestError(
                    expected=f"a node of namespace {namespace!r} on the path of {len(key)} tokens",
                    got=repr(after),
                    where="after",
                )
            if after.end:
                self._require_living(after)
                return after
        return self._structure.roots.get(namespace) or Node(namespace, None, b"", b"", 0)

    @staticmethod
    def _require_living(node: Node) -> None:
        if not node.alive:
            raise InvariantError(
                "a handle of a node that left the tree was used",
                got=repr(node),
                hint="Lock a node before anything may evict; match again after a discard.",
            )

    # Filling

    def insert(
        self,
        key: Ints,
        slots: Ints,
        namespace: str = "",
        *,
        after: Node | None = None,
        pending: int | None = None,
        asked: int | None = None,
    ) -> Insertion:
        """Gives the tree the caller's `slots` for key[after.end:] (all of it without `after`).

        Where the tree has the run already, its own slots stay and the caller's come back as
        duplicates. pending: the launched step that fills the new nodes; None says they are filled.
        asked: as in `lock`. Raises InvalidRequestError unless `key` is whole pages and `slots`
        fits it.
        """
        top = self._top(key, namespace, after)
        data, ours = to_run(key, top.end), to_run(slots)
        if len(data) != len(ours) or len(data) % self._page:
            raise InvalidRequestError(
                expected=f"whole pages of {self.page_size} tokens after {top.end}, a slot for each",
                got=f"{len(key)} tokens and {len(slots)} slots",
                where="RadixCache.insert",
            )
        path = self._find(top, data)
        node = path[-1] if path else top
        existing = join([found.slot_run for found in path])
        covered = len(existing)
        if covered * WIDTH < len(data):
            if node.end == 0:
                node = self._structure.root(namespace)
            at = covered * WIDTH
            by = self._structure.asked(asked)
            node = self._structure.grow(node, data[at:], ours[at:], pending, by)
        else:
            self._structure.touch(node)
        mine = slots[:covered]
        duplicates = mine[mine != existing]
        self._duplicated += len(duplicates)
        return Insertion(node, top.end, existing, duplicates)

    def commit(self, step: int) -> int:
        """Steps up to `step` have retired: what they filled is ready. Returns the nodes."""
        if self._step is None or step > self._step:
            self._step = step
        return self._structure.commit(step)

    def discard(self, step: int) -> list[Discarded]:
        """Steps from `step` on failed: what they were to fill leaves the tree, with all below it.

        Even locked nodes go. Their handles are dead: `unlock` still takes them, once per lock, and
        does nothing else. The slots are the caller's to free, once, when no launched step names
        them any more.
        """
        structure = self._structure
        failed = [
            node
            for launched, nodes in structure.pending.items()
            if launched >= step
            for node in nodes
        ]
        now = self._clock()
        removed: list[Discarded] = []
        for top in sorted(failed, key=lambda node: node.end):
            if not top.alive:
                continue  # it left with a node above it
            first = top.run[: self._page]
            survivor, runs = structure.cut(top)
            tokens = 0
            for node, run in runs:
                tokens += len(run) // WIDTH
                removed.append(Discarded(node, node.end - len(run) // WIDTH, join([run]), survivor))
            self._losses.record(survivor, first, Loss("discarded", tokens, now, self._step))
            self._discarded += tokens
        return removed

    # Keeping and letting go

    def lock(self, node: Node, asked: int | None = None) -> None:
        """Keeps `node` and all above it from eviction until `unlock`; locks add up.

        asked: `Watcher.asked` of the request it is for; None: one that is made now.
        """
        if node.parent is None:
            self._require_living(node)
            node = self._structure.root(node.namespace)
        node.locks += 1
        self._structure.locks += 1
        self._structure.hold(node, self._structure.asked(asked))

    def unlock(self, node: Node) -> None:
        """Gives back one lock on this very node; InvariantError if there is none.

        What is locked no more counts as used just now. Allowed on a discarded node.
        """
        if node.end == 0:
            node = self._structure.roots.get(node.namespace, node)
        if node.locks <= 0:
            raise InvariantError("I3: unlocked a node that is not locked", got=repr(node))
        node.locks -= 1
        if node.alive:
            self._structure.locks -= 1
            self._structure.release(node)

    def unheld(self, node: Node) -> int:
        """Slots of `node`'s path that nobody holds: what a lock on it takes from `evictable`."""
        count, at = 0, node
        while at.parent is not None and not at.holds:
            count += at.size
            at = at.parent
        return count

    @property
    def evictable(self) -> int:
        """Slots that `evict` could free now."""
        return self._structure.evictable

    def evict(self, n: int, *, spare: bool = False) -> int:
        """Frees at least `n` slots into the allocator if it can; returns how many.

        In the policy's order, a leaf from its tail in whole pages; pinned prefixes last, the
        weak and the oldest pins first. Never what is locked or pending. O(what is evicted).
        spare: nor what is pinned, nor (under "density") what a watcher waits for.
        """
        return self._evict(n, spare, self._leaving)

    def _evict(self, n: int, spare: bool, leaving: Callable[[Node], None] | None) -> int:
        self._expire_pins()
        now, step = self._clock(), self._step
        freed = eviction.evict(
            self._structure, self._losses, n, now, step, spare=spare, leaving=leaving
        )
        count = len(freed) // WIDTH
        if count:
            self.allocator.free(join([freed]))
            self._evicted += count
        return count

    def drop(self, node: Node) -> None:
        """Frees what of `node`'s path nobody else holds, pins or goes on from: it is wrong."""
        freed = eviction.drop(self._structure, self._losses, node, self._clock(), self._step)
        self._discarded += len(freed) // WIDTH
        self.allocator.free(join([freed]))

    def reset(self) -> int:
        """Drops all that is neither locked nor pending, pinned or not; returns the slots freed.
        `leaving` is not told."""
        return self._evict(self.evictable, False, None)

    def pin(
        self, key: Ints, namespace: str = "", ttl: float | None = None, *, weak: bool = False
    ) -> Pin:
        """Asks that the cached prefix of `key` be evicted last; at most the pins' share of it.

        ttl: seconds until the pin expires. Beyond the share pins are lost, the weak ones first,
        then the oldest. What is inserted later is not pinned; with nothing cached the pin is never
        active.
        """
        if ttl is not None and not ttl > 0:
            raise InvalidRequestError(expected="a ttl > 0 or None", got=repr(ttl), where="ttl")
        self._expire_pins()
        node = self.match(key[: self._pin_room], namespace).node
        if node.end == 0:
            pin = Pin(node, 0, None, weak)
            pin.active = False
            return pin
        structure = self._structure
        structure.pin(node)
        pin = structure.pins.add(node, None if ttl is None else self._clock() + ttl, weak)
        while structure.pinned > self._pin_room and (first := structure.pins.first()) is not None:
            self.unpin(first)
        return pin

    def unpin(self, pin: Pin) -> None:
        """Drops a pin; one that was lost or has expired is left alone."""
        if pin.active:
            self._structure.pins.remove(pin)
            self._structure.unpin(pin.node)

    def _expire_pins(self) -> None:
        pins = self._structure.pins
        if pins:
            now = self._clock()
            while (pin := pins.next_expired(now)) is not None:
                self.unpin(pin)

    # Waiting

    def watch(self, key: Ints, namespace: str, owner: object) -> Watcher:
        """Keeps `Watcher.depth` equal to `peek(key, namespace)` until `unwatch`."""
        watcher = Watcher(key, owner, self._structure.asked(None))
        root = self._structure.root(namespace)
        path, inside, at = descend(root, to_run(key), self._page)
        node = path[-1] if path else root
        depth = node.end + at // WIDTH
        self._structure.watchers.hang(watcher, node if inside is None else inside, depth)
        self._structure.watchers.count += 1
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Stops watching; a watcher that is not watched is left alone."""
        node = self._structure.watchers.unhang(watcher)
        if node is not None:
            self._structure.watchers.count -= 1
            self._structure.reap_if_root(node)

    def next_moved(self) -> Watcher | None:
        """A watcher whose depth may have changed since it was last told here; None: all is told.

        One call looks at one watcher, so that whoever calls it decides how many move in a step.
        """
        return self._structure.watchers.next_moved()

    # Looking

    def explain(self, key: Ints, namespace: str = "") -> Explanation:
        """How far `key` is cached and why no further. Changes nothing."""
        return explain(self._structure, self._losses, to_run(key), namespace)

    def stats(self) -> CacheStats:
        """Counts now and totals so far. O(pending nodes)."""
        self._expire_pins()
        tree = self._structure
        return CacheStats(
            capacity=self.allocator.capacity,
            available=self.allocator.available,
            nodes=tree.nodes,
            namespaces=len(tree.roots),
            tokens=tree.tokens,
            evictable=tree.evictable,
            pending=sum(node.size for nodes in tree.pending.values() for node in nodes),
            pinned=tree.pinned,
            pins=len(tree.pins),
            locks=tree.locks,
            watchers=tree.watchers.count,
            evicted=self._evicted,
            discarded=self._discarded,
            duplicated=self._duplicated,
        )

    def walk(self) -> Iterator[NodeView]:
        """All nodes, namespace by namespace, parents before children. Change nothing meanwhile."""
        return walk(self._structure)

    def view(
        self, running: Iterable[Node], *, max_nodes: int, hottest: int, text_tokens: int
    ) -> TreeView:
        """At most `max_nodes` nodes, `hottest` prefixes, and `text_tokens` ids of each of these."""
        self._expire_pins()
        return view(self._structure, running, max_nodes, hottest, text_tokens)

    def check_invariants(self, running: Iterable[Ints] = ()) -> None:
        """Checks I1..I10 of invariants.py. running: slots that running requests own themselves.

        Raises InvariantError beginning with the invariant's name. O(everything).
        """
        invariants.check(self._structure, self.allocator, self._pin_room, running)

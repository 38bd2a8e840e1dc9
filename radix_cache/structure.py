"""The tree itself: its nodes, who holds and pins them, and all that follows from it.

Five primitives change it: `attach`, `split`, `detach`, `cut` and the pairs `hold`/`release` and
`pin`/`unpin`. Each keeps every count, the list of ages and the watchers right, so that whatever is
built from them is right too. Costs: O(1) beside copying runs (`split`), ancestors that change
state (`hold`, `release`, `pin`, `unpin`), and the depths at which watchers hang (`split`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InvariantError
from .ages import Ages
from .node import OUT, Node
from .pins import PinRegistry
from .reuse import Reuse
from .runs import WIDTH
from .watch import WatchIndex

_PIECES = 8  # of one run that comes back, remembered apart


class Structure:
    """Namespaces' trees, which share one list of ages and one set of counts.

    Counts in slots: tokens (all), evictable (nodes not held), pinned (nodes pinned, held or not).
    locks: taken and not given back, on living nodes. pending: step -> its nodes, oldest first.
    tick: the logical time of uses. reuse: what is learned from uses, for a policy that asks.
    """

    def __init__(self, page_size: int, reuse: Reuse | None = None) -> None:
        self.reuse = reuse
        self.page_bytes = page_size * WIDTH
        self.roots: dict[str, Node] = {}
        self.ages = Ages()
        self.pins = PinRegistry()
        self.watchers = WatchIndex(page_size, self._wanted)
        self.pending: dict[int, dict[Node, None]] = {}
        self.nodes = 0
        self.tokens = 0
        self.evictable = 0
        self.pinned = 0
        self.locks = 0
        self.tick = 0

    def root(self, namespace: str) -> Node:
        """The namespace's root, made if it is missing. Call `reap` if nothing came of it."""
        root = self.roots.get(namespace)
        if root is None:
            root = self.roots[namespace] = Node(namespace, None, b"", b"", 0)
        return root

    def reap(self, root: Node) -> None:
        """Lets a namespace go that has no nodes, no locks on its root and no watchers."""
        if root.children is None and not root.holds and root.spots is None:
            self.roots.pop(root.namespace, None)

    def asked(self, number: int | None) -> int:
        """The number of a request: as given, or that of one that is made now."""
        if number is None:
            return 0 if self.reuse is None else self.reuse.ask()
        return number

    def touch(self, node: Node) -> None:
        """`node` and its ancestors were used just now."""
        self.tick += 1
        self.ages.touch(node, self.tick)

    def grow(
        self, parent: Node, run: bytes, slot_run: bytes, pending: int | None, asked: int
    ) -> Node:
        """New nodes under `parent`, which has no child with that first page; returns the last.

        One node, but where some of it was here before and is remembered: what is new begins a node
        of its own, since nobody has used it yet. asked: the number of the request it is for.
        """
        for _ in range(_PIECES):
            if self.reuse is None:
                break
            size = self.reuse.remembered(parent, run, self.page_bytes)
            if size == len(run):
                break
            parent = self.attach(parent, run[:size], slot_run[:size], pending, asked)
            run, slot_run = run[size:], slot_run[size:]
        return self.attach(parent, run, slot_run, pending, asked)

    def attach(
        self,
        parent: Node,
        run: bytes,
        slot_run: bytes,
        pending: int | None,
        asked: int,
    ) -> Node:
        """A new leaf under `parent`, which has no child with that first page."""
        node = Node(parent.namespace, parent, run, slot_run, parent.end + len(run) // WIDTH)
        if parent.children is None:
            parent.children = {}
        parent.children[run[: self.page_bytes]] = node
        self.nodes += 1
        self.tokens += len(run) // WIDTH
        self.evictable += len(run) // WIDTH
        if self.reuse is not None:
            self.reuse.leaves.discard(parent)
            self.reuse.attached(node, self.page_bytes, asked)
        self._list(node)
        if pending is not None:
            node.pending = pending
            self.pending.setdefault(pending, {})[node] = None
            self.hold(node, asked)
        self.touch(node)
        if parent.spots is not None:
            self.watchers.grew(parent, node)
        return node

    def split(self, node: Node, at: int) -> Node:
        """Cuts `node`'s run after `at` bytes; returns the new upper half, `node` is the lower."""
        run, slot_run, parent = node.run, node.slot_run, node.parent
        if parent is None or parent.children is None or not 0 < at < len(run):
            raise InvariantError("I2: a split outside a node's run", got=f"{at} in {node!r}")
        rest = run[at:]
        upper = Node(node.namespace, parent, run[:at], slot_run[:at], node.end - len(rest) // WIDTH)
        parent.children[run[: self.page_bytes]] = upper
        upper.children = {rest[: self.page_bytes]: node}
        node.parent, node.run, node.slot_run = upper, rest, slot_run[at:]
        upper.last_use = node.last_use
        upper.holds = 1 if node.holds else 0
        upper.pins = 1 if node.pins else 0
        if node.pending is not None:
            upper.pending = node.pending
            upper.holds += 1
            self.pending[node.pending][upper] = None
        if self.reuse is not None:
            self.reuse.split(node, upper)
        if node.newer is not OUT:
            self.ages.put_after(upper, node)
        if node.spots is not None:
            self.watchers.split(node, upper)
        self.nodes += 1
        return upper

    def detach(self, leaf: Node) -> None:
        """Takes out a leaf that is neither held nor pinned."""
        parent = leaf.parent
        if parent is None or leaf.newer is OUT or leaf.children is not None:
            raise InvariantError("I6: only a leaf of the list of ages can leave", got=repr(leaf))
        self._unlink_from(parent, leaf)
        self._unlist(leaf)
        size = len(leaf.run) // WIDTH
        self.nodes -= 1
        self.tokens -= size
        self.evictable -= size
        if leaf.spots is not None:
            self.watchers.fell(leaf, parent)
        leaf.parent = None
        leaf.run = leaf.slot_run = b""
        if parent.parent is None:
            self.reap(parent)

    def cut(self, top: Node) -> tuple[Node, list[tuple[Node, bytes]]]:
        """Takes out `top` and all below it, held or not.

        Returns the surviving parent, and the nodes, parents first, with their slots.
        """
        survivor = top.parent
        if survivor is None:
            raise InvariantError("I2: a root cannot be cut off", got=repr(top))
        gone = list(preorder(top))
        for node in gone:
            for pin in tuple(node.own_pins or ()):
                self.pins.remove(pin)
        self._unlink_from(survivor, top)
        held, pinned = top.holds, top.pins
        runs = [(node, node.slot_run) for node in gone]
        for node in gone:
            self._forget(node, survivor)
        if held:
            self.release(survivor)
        if pinned:
            self.unpin(survivor)
        self.reap_if_root(survivor)
        return survivor, runs

    def _forget(self, node: Node, survivor: Node) -> None:
        size = len(node.run) // WIDTH
        self.nodes -= 1
        self.tokens -= size
        self.locks -= node.locks
        if not node.holds:
            self.evictable -= size
        if node.pins:
            self.pinned -= size
        if node.newer is not OUT:
            self._unlist(node)
        if node.pending is not None:
            self._settle(node, node.pending)
        if node.spots is not None:
            self.watchers.fell(node, survivor)
        node.parent = node.children = None
        node.run = node.slot_run = b""
        node.holds = node.pins = 0

    def _unlink_from(self, parent: Node, child: Node) -> None:
        children = parent.children or {}
        del children[child.run[: self.page_bytes]]
        if not children:
            parent.children = None
            if self.reuse is not None and parent.newer is not OUT:
                self.reuse.leaves.add(parent)

    def reap_if_root(self, node: Node) -> None:
        """`reap` for a node that may be a root."""
        if node.parent is None and node.end == 0:
            self.reap(node)

    def _settle(self, node: Node, step: int) -> None:
        node.pending = None
        nodes = self.pending[step]
        del nodes[node]
        if not nodes:
            del self.pending[step]

    def commit(self, step: int) -> int:
        """Nodes pending for steps <= `step` are ready; returns how many."""
        done = 0
        for ready in sorted(launched for launched in self.pending if launched <= step):
            nodes = self.pending.pop(ready)
            done += len(nodes)
            for node in nodes:
                node.pending = None
                self.release(node)
        return done

    def hold(self, node: Node, asked: int) -> None:
        """One more reason against evicting `node`, and with it all its ancestors."""
        reuse = self.reuse
        if reuse is not None and node.holds:
            reuse.used(node, asked)
        at: Node | None = node
        while at is not None:
            at.holds += 1
            if at.holds > 1:
                return
            if at.newer is not OUT:
                self._unlist(at)
            if reuse is not None:
                reuse.used(at, asked)
            self.evictable -= len(at.run) // WIDTH
            at = at.parent

    def release(self, node: Node) -> None:
        """One reason less. A path that is held no more counts as used just now."""
        self.tick += 1
        at: Node | None = node
        while at is not None:
            at.holds -= 1
            if at.holds:
                return
            parent = at.parent
            if parent is None:
                self.reap(at)
                return
            self.evictable += len(at.run) // WIDTH
            if not at.pins:
                at.last_use = self.tick
                self._list(at)
            elif at.own_pins is not None:
                self.pins.wake(at)
            at = parent

    def pin(self, node: Node) -> None:
        """One more reason to evict `node` and its ancestors last."""
        at: Node | None = node
        while at is not None:
            at.pins += 1
            if at.pins > 1:
                return
            if at.newer is not OUT:
                self._unlist(at)
            self.pinned += len(at.run) // WIDTH
            at = at.parent

    def unpin(self, node: Node) -> None:
        """One reason less. A path that is pinned no more counts as used just now."""
        self.tick += 1
        at: Node | None = node
        while at is not None:
            at.pins -= 1
            if at.pins:
                return
            parent = at.parent
            self.pinned -= len(at.run) // WIDTH
            if parent is not None and not at.holds:
                at.last_use = self.tick
                self._list(at)
            at = parent

    def _wanted(self, node: Node) -> None:
        """Watchers hang at `node`, or no longer."""
        if self.reuse is not None:
            self.reuse.leaves.sort(node)

    def _list(self, node: Node) -> None:
        """`node` is neither held nor pinned any more: it may be evicted."""
        self.ages.push(node)
        if self.reuse is not None and node.children is None:
            self.reuse.leaves.add(node)

    def _unlist(self, node: Node) -> None:
        self.ages.unlink(node)
        if self.reuse is not None:
            self.reuse.leaves.discard(node)


def preorder(top: Node) -> Iterator[Node]:
    """`top` and all below it, parents before their children, children in order of arrival."""
    stack = [top]
    while stack:
        node = stack.pop()
        yield node
        if node.children is not None:
            stack.extend(reversed(node.children.values()))

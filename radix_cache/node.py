"""A node of the prefix tree, which is also the handle that callers hold.

A handle ends at one depth for all its life. A split puts a new node above it (the upper half) and
leaves the handle the lower half, with its locks, pins and pending step. Eviction and discarding
kill it: `alive` turns False, and it never comes back or means another prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .runs import WIDTH, Ints, as_array

if TYPE_CHECKING:
    from .pins import Pin
    from .watch import Spots


class Node:
    """One run of tokens, and who needs it.

    Callers read `end`, `start`, `size`, `alive`, `namespace`, `key`, `slots`, `pending`, `locks`;
    everything else belongs to the tree.

    end: depth in tokens where this node's path ends; a root's is 0.
    locks: locks taken on this very node. holds: reasons why it may not be evicted: its locks, one
    for being pending, one per child that is held. pins: its own soft pins, and one per child that
    is pinned. So "held" and "pinned" each cover whole paths from the root, and taking or dropping
    one stops at the first ancestor that stays so.
    older, newer: neighbours in the list of ages; OUT where the node is in no list.
    place: in the set of evictable leaves; -1 outside. uses, used_at, digest: reuse.py's.
    """

    __slots__ = (
        "children",
        "digest",
        "end",
        "holds",
        "last_use",
        "locks",
        "namespace",
        "newer",
        "older",
        "own_pins",
        "parent",
        "pending",
        "pins",
        "place",
        "run",
        "seen",
        "slot_run",
        "spots",
        "used_at",
        "uses",
    )

    def __init__(
        self, namespace: str, parent: Node | None, run: bytes, slot_run: bytes, end: int
    ) -> None:
        self.namespace = namespace
        self.parent = parent
        self.run = run
        self.slot_run = slot_run
        self.end = end
        self.children: dict[bytes, Node] | None = None
        self.locks = 0
        self.holds = 0
        self.pins = 0
        self.pending: int | None = None
        self.last_use = 0
        self.older: Node = OUT
        self.newer: Node = OUT
        self.own_pins: list[Pin] | None = None
        self.spots: Spots | None = None
        self.place = -1
        self.digest = self.used_at = self.seen = self.uses = 0

    @property
    def size(self) -> int:
        """Tokens in this node's own run."""
        return len(self.run) // WIDTH

    @property
    def start(self) -> int:
        """Depth where this node's own run begins."""
        return self.end - len(self.run) // WIDTH

    @property
    def alive(self) -> bool:
        """False once evicted or discarded. A root is always alive: it stands for its namespace."""
        return self.parent is not None or self.end == 0

    @property
    def key(self) -> Ints:
        """This node's own run of cache keys, read-only."""
        return as_array(self.run)

    @property
    def slots(self) -> Ints:
        """The slots of this node's own run, read-only."""
        return as_array(self.slot_run)

    def __repr__(self) -> str:
        state = "root" if self.end == 0 else "alive" if self.alive else "dead"
        return (
            f"<Node {self.namespace!r} {self.start}..{self.end} {state} holds={self.holds} "
            f"locks={self.locks} pins={self.pins} pending={self.pending}>"
        )


OUT: Node = Node.__new__(Node)  # stands for "in no list", so that links need no None check

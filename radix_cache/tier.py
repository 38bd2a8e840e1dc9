"""The host tier: KV that left the device's tree, kept in host memory until it is wanted again.

It is a radix cache of its own, over slots of its own. A leaf that the device's tree gives up brings
its whole path, which is on the device still: what the host lacks of it is copied. So a path is
copied once, however often its leaf is trimmed, and what comes back to the device and leaves it
again is not copied twice. When host slots are short, the least recently used leaves go for good.

No KV is moved here. `moves` are copies for the next launched step, which makes them in their order
and before its rows run. In that order every copy reads what it is meant to: a slot is given away
only after the copy that reads it was listed, and written only by what was listed or launched later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from .node import Node
from .runs import Ints, join
from .slots import SlotAllocator
from .tree import RadixCache


class Move(msgspec.Struct, frozen=True):
    """Copies of KV, token by token: "save" from device slots to host slots, "load" back."""

    kind: Literal["save", "load"]
    device: Ints
    host: Ints


class HostTier:
    """`capacity` host slots (whole pages of `page_size`). saved, loaded: tokens so far.

    least: a prefix that is shorter is computed again rather than loaded.
    """

    def __init__(self, capacity: int, page_size: int = 1, *, least: int = 32) -> None:
        self.least = least
        self.saved = 0
        self.loaded = 0
        self.moves: list[Move] = []
        self._slots = SlotAllocator(capacity, page_size)
        self._tree = RadixCache(self._slots)

    @property
    def tokens(self) -> int:
        """Tokens kept."""
        return self._tree.stats().tokens

    @property
    def capacity(self) -> int:
        """Host slots, free or not."""
        return self._slots.capacity

    def save(self, leaf: Node) -> None:
        """`leaf` is about to leave the device's tree: keep what the host lacks of its path, or as
        much of its beginning as there is room for."""
        path: list[Node] = []
        node = leaf
        while node.parent is not None:
            path.append(node)
            node = node.parent
        path.reverse()
        if any(node.pending is not None for node in path):
            return  # not all of it is there yet
        key = join([node.run for node in path])
        found = self._tree.match(key, leaf.namespace)
        here = found.length
        if here == len(key):
            return
        self._tree.lock(found.node)
        self._tree.evict(len(key) - here - self._slots.available)
        self._tree.unlock(found.node)
        count = min(len(key) - here, self._slots.available)
        host = self._slots.alloc(count)
        if host is None or not count:
            return
        device = join([node.slot_run for node in path])[here : here + count]
        self._tree.insert(key[: here + count], host, leaf.namespace, after=found.node)
        self.moves.append(Move("save", device, host))
        self.saved += count

    def found(self, key: Ints, namespace: str, start: int) -> int:
        """How many tokens of key[start:] are kept; 0 where they are too few to be loaded."""
        if len(key) - start < self.least:
            return 0
        count = self._tree.peek(key, namespace) - start
        return count if count >= self.least else 0

    def load(
        self, key: Ints, namespace: str, start: int, take: Callable[[int], Ints | None]
    ) -> Ints | None:
        """Device slots that will hold the KV of key[start:], as far as it is kept; None where it
        is not, or too little, or where `take` (which gets device slots) has none to give."""
        count = self.found(key, namespace, start)
        if not count:
            return None
        kept = self._tree.match(key, namespace)
        self._tree.lock(kept.node)  # `take` may evict, and so save, and so want host slots
        device = take(count)
        self._tree.unlock(kept.node)
        if device is not None:
            self.moves.append(Move("load", device, kept.slots[start:]))
            self.loaded += count
        return device

    def drain(self) -> list[Move]:
        """The copies listed since the last call: the next launched step's, in their order."""
        moves, self.moves = self.moves, []
        return moves

    def reset(self) -> int:
        """Forgets everything: the user said so, or a step failed and nobody knows whether its
        copies were made. Returns the slots freed."""
        self.moves.clear()
        return self._tree.reset()

    def check_invariants(self) -> None:
        """The tree's and the allocator's own."""
        self._tree.check_invariants()

"""Freeing slots: the leaves that the policy gives up first, pinned prefixes last.

The policy is "lru" (the least recently used) or "density" (what earns least by staying, reuse.py).

A leaf is trimmed from its tail in whole pages when less than all of it is needed. When nothing
unpinned is left, pins are lost one by one, the oldest first, until something is. The cost is that
of what is evicted, whatever the size of the tree.
"""

from __future__ import annotations

from collections.abc import Callable

from .explain import Loss, Losses
from .node import Node
from .runs import WIDTH
from .structure import Structure

# A long leaf is first cut this many tokens before its end, so that trimming it bit by bit copies
# short runs and not the whole of it each time.
_TRIM_BLOCK = 4096


def evict(
    structure: Structure,
    losses: Losses,
    need: int,
    now: float,
    step: int | None,
    *,
    spare: bool = False,
    leaving: Callable[[Node], None] | None = None,
) -> bytes:
    """Takes runs of at least `need` slots out of the tree, or all it can; returns their slots.

    spare: leave what is pinned, and, if the policy knows it, what waiting requests want. leaving:
    is told of each leaf while it still stands in the tree.
    """
    parts: list[bytes] = []
    freed = 0
    while freed < need:
        reuse = structure.reuse
        leaf = structure.ages.oldest() if reuse is None else reuse.worst(spare)
        if leaf is None:
            if spare or not _lose_oldest_pin(structure):
                break
            continue
        leaf = _tail(structure, leaf, need - freed)
        if leaving is not None:
            leaving(leaf)
        parent, run = leaf.parent, leaf.run
        size = len(run) // WIDTH
        parts.append(leaf.slot_run)
        freed += size
        if reuse is not None and parent is not None:
            reuse.evicted(leaf, parent, structure.page_bytes)
        structure.detach(leaf)
        if parent is not None:
            losses.record(parent, run, Loss("evicted", size, now, step))
    return b"".join(parts)


def drop(structure: Structure, losses: Losses, node: Node, now: float, step: int | None) -> bytes:
    """Takes `node` out of the tree, and what lies above it up to the first that is held, pinned, or
    has other nodes below; returns their slots."""
    parts: list[bytes] = []
    while node.parent is not None and not (node.holds or node.pins or node.children):
        parent, run = node.parent, node.run
        parts.append(node.slot_run)
        structure.detach(node)
        losses.record(parent, run, Loss("discarded", len(run) // WIDTH, now, step))
        node = parent
    return b"".join(parts)


def _tail(structure: Structure, leaf: Node, need: int) -> Node:
    """`leaf` itself, or a new leaf of its last pages where they are enough."""
    page = structure.page_bytes // WIDTH
    need += -need % page
    if len(leaf.run) <= need * WIDTH:
        return leaf
    block = max(need, _TRIM_BLOCK // page * page)
    for cut in (block, need):
        size = len(leaf.run) // WIDTH
        if size > cut > 0:
            structure.split(leaf, (size - cut) * WIDTH)
    return leaf


def _lose_oldest_pin(structure: Structure) -> bool:
    pin = structure.pins.next_droppable()
    if pin is None:
        return False
    structure.pins.remove(pin)
    structure.unpin(pin.node)
    return True

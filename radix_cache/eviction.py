"""Freeing slots: the least recently used leaves first, pinned prefixes last.

A leaf is trimmed from its tail in whole pages when less than all of it is needed. When nothing
unpinned is left, pins are lost one by one, the oldest first, until something is. The cost is that
of what is evicted, whatever the size of the tree.
"""

from __future__ import annotations

from .explain import Loss, Losses
from .node import Node
from .runs import WIDTH
from .structure import Structure

# A long leaf is first cut this many tokens before its end, so that trimming it bit by bit copies
# short runs and not the whole of it each time.
_TRIM_BLOCK = 4096


def evict(structure: Structure, losses: Losses, need: int, now: float, step: int | None) -> bytes:
    """Takes runs of at least `need` slots out of the tree, or all it can; returns their slots."""
    parts: list[bytes] = []
    freed = 0
    while freed < need:
        leaf = structure.ages.oldest()
        if leaf is None:
            if not _lose_oldest_pin(structure):
                break
            continue
        leaf = _tail(structure, leaf, need - freed)
        parent, run = leaf.parent, leaf.run
        size = len(run) // WIDTH
        parts.append(leaf.slot_run)
        freed += size
        structure.detach(leaf)
        if parent is not None:
            losses.record(parent, run, Loss("evicted", size, now, step))
    return b"".join(parts)


def _tail(structure: Structure, leaf: Node, need: int) -> Node:
    """`leaf` itself, or a new leaf of its last pages where they are enough."""
    page = structure.page_bytes // WIDTH
    need += -need % page
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

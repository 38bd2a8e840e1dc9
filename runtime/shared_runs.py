"""Which positions several decoding sequences have in the same slots: the nodes of the prefix tree
that they hold. Attention reads those once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .plan import SharedSlots
from .sequence import Sequence

if TYPE_CHECKING:
    from ..radix_cache.node import Node

LEAST = 256
"""Positions that must be read less often for it to be worth telling."""


class SharedRuns:
    """Finds them anew only when a sequence comes, goes or holds another node: what a node stands
    for never changes."""

    def __init__(self) -> None:
        self._nodes: list[Node | None] = []
        self._runs: list[SharedSlots] = []

    def of(self, seqs: list[Sequence]) -> list[SharedSlots]:
        """Of sequences with one row each, which are the first of the plan."""
        nodes = [seq.node for seq in seqs]
        if nodes != self._nodes:
            self._nodes = nodes
            self._runs = _runs(seqs)
        return self._runs


def _runs(seqs: list[Sequence]) -> list[SharedSlots]:
    members: dict[Node, list[int]] = {}
    for i, seq in enumerate(seqs):
        node = seq.node
        while node is not None and node.end > 0:
            if node.end < seq.pos:  # its row, which is past `pos` by one here, stands beyond
                members.setdefault(node, []).append(i)
            node = node.parent
    ranges: dict[tuple[int, ...], tuple[int, int]] = {}
    for node, who in members.items():
        if len(who) > 1:  # nodes of the same members lie one after the other
            begin, end = ranges.get(tuple(who), (node.start, node.end))
            ranges[tuple(who)] = min(begin, node.start), max(end, node.end)
    saved = sum((len(who) - 1) * (end - begin) for who, (begin, end) in ranges.items())
    if saved < LEAST:
        return []
    return [SharedSlots(who, begin, end) for who, (begin, end) in ranges.items()]

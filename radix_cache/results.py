"""What the radix cache answers."""

from __future__ import annotations

import msgspec

from .node import Node
from .runs import Ints


class Match(msgspec.Struct, frozen=True):
    """The longest cached prefix, in whole pages.

    length: its absolute depth in tokens. slots: those of key[after.end:length] (of key[:length]
    without `after`), a fresh array. node: the handle that ends exactly there; lock it before using
    the slots. pending: how many of the tokens that `slots` covers are not committed yet.
    """

    length: int
    slots: Ints
    node: Node
    pending: int


class Insertion(msgspec.Struct, frozen=True):
    """What became of inserted slots.

    node: ends at the key's end. start: depth where the insertion began (`after.end`, else 0).
    existing: the tree's slots for start..start+len(existing), which it had already; the caller's
    table must name these. duplicates: the caller's slots that they replace (those that were the
    tree's own already are left out); once its table is repointed, the caller frees them.
    """

    node: Node
    start: int
    existing: Ints
    duplicates: Ints


class Discarded(msgspec.Struct, frozen=True):
    """A run that left the tree because its step failed.

    node: the handle, dead now; unlocking it stays allowed. start: depth where its run began.
    slots: the caller's to free, once. survivor: the handle above, still in the tree and not locked
    by this discarding: a holder that goes on locks it.
    """

    node: Node
    start: int
    slots: Ints
    survivor: Node


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts now (slots unless named otherwise), and totals since the cache was made.

    nodes, namespaces, locks, pins, watchers: numbers of them. tokens: slots in the tree.
    evictable: what `evict` could free. pending: in nodes not committed. pinned: under pins.
    evicted: total evicted. discarded: total discarded. duplicated: total found to be duplicates.
    """

    capacity: int
    available: int
    nodes: int
    namespaces: int
    tokens: int
    evictable: int
    pending: int
    pinned: int
    pins: int
    locks: int
    watchers: int
    evicted: int
    discarded: int
    duplicated: int


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One node for a tree view. level: nodes above it, the root not counted. last_use: logical
    time; meaningless while held or pinned. key: its own run, start..end."""

    namespace: str
    level: int
    start: int
    end: int
    key: Ints
    children: int
    locks: int
    held: bool
    pinned: bool
    pending: int | None
    last_use: int

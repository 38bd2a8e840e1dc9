"""Where KV lives: the tree of cached prefixes, the slots it stands for, and who may lose them.

Ints in, ints out; knows no torch. Start with tree.py; invariants.py says what always holds.
"""

from __future__ import annotations

from .explain import ExplainedRun, Explanation
from .layout import KVGroup, KVLayout
from .node import Node
from .pins import Pin
from .results import CacheStats, Discarded, Insertion, Match, NodeView
from .slots import SlotAllocator
from .tier import HostTier, Move
from .tree import RadixCache
from .view import HotPrefix, TreeNode, TreeView
from .watch import Watcher

__all__ = [
    "CacheStats",
    "Discarded",
    "ExplainedRun",
    "Explanation",
    "HostTier",
    "HotPrefix",
    "Insertion",
    "KVGroup",
    "KVLayout",
    "Match",
    "Move",
    "Node",
    "NodeView",
    "Pin",
    "RadixCache",
    "SlotAllocator",
    "TreeNode",
    "TreeView",
    "Watcher",
]

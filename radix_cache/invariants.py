"""The invariants of the radix cache, numbered, and the check that names the one that broke.

I1   slots: every slot is free, or in exactly one node, or a running request's own.
I2   shape: a child stands in its parent under its run's first page; runs are whole pages, at least
     one, with as many slots as keys; a node ends where its parent ends plus its own run; its
     namespace is its root's.
I3   holds: a node's holds are its locks, plus one if pending, plus its held children; all locks
     add up to the tree's count.
I4   pins: a node's pins are its own active pins plus its pinned children; `pinned` is the sum of
     the pinned nodes' slots and at most the share, the registry's pins are those of the nodes.
I5   evictable: the sum of the slots of nodes that are not held.
I6   ages: the list holds exactly the nodes neither held nor pinned, ordered by last use, each
     parent on the newer side of its children.
I7   pending: the nodes registered for a step are those that say so.
I8   watchers: a settled one hangs at the node and depth where its match ends, under the page it
     wants next; a loose one at a node that its match reaches into (or a root), in a bundle that is
     registered.
I9   namespaces: a root has nodes, locks or watchers, and stands under its own name.
I10  counts of nodes and tokens are those of the tree.
I11  leaves: the set to choose from, where a policy keeps one, is the leaves of the list of ages,
     those apart at which watchers hang; what they are compared by is their own.
(A1, A2: the allocator's own, see slots.py.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import InvariantError
from .node import OUT, Node
from .runs import WIDTH, Ints, as_array, to_run
from .slots import SlotAllocator
from .structure import Structure, preorder
from .walk import descend
from .watch import Bundle


def check(
    structure: Structure, allocator: SlotAllocator, pin_room: int, running: Iterable[Ints]
) -> None:
    """Raises InvariantError beginning with the name of the first invariant found broken."""
    allocator.check_invariants()
    nodes: list[Node] = []
    for name, root in structure.roots.items():
        if root.namespace != name or root.end or root.parent is not None or root.run:
            _fail("I9", "a root under another name, or not at depth 0", root)
        if root.children is None and not root.holds and root.spots is None:
            _fail("I9", "an empty namespace kept its root", root)
        nodes.extend(preorder(root))
    for node in nodes:
        _check_shape(structure, node)
        _check_holds(node)
        _check_pins(node)
    _check_counts(structure, nodes, pin_room)
    _check_ages(structure, nodes)
    _check_pending(structure, nodes)
    _check_watchers(structure, nodes)
    _check_slots(allocator, nodes, running)


def _fail(name: str, what: str, node: Node | None = None, **parts: str) -> None:
    raise InvariantError(f"{name}: {what}", where=None if node is None else repr(node), **parts)


def _children(node: Node) -> Iterable[Node]:
    return () if node.children is None else node.children.values()


def _check_shape(structure: Structure, node: Node) -> None:
    if node.children is not None and not node.children:
        _fail("I2", "an empty dict of children was kept", node)
    page = structure.page_bytes
    for first, child in (node.children or {}).items():
        if child.parent is not node:
            _fail("I2", "a child with another parent", child)
        if not child.run or len(child.run) % page or len(child.run) != len(child.slot_run):
            _fail("I2", "a run that is not whole pages with a slot for each key", child)
        if child.run[:page] != first:
            _fail("I2", "a child stands under another first page than its own", child)
        if child.end != node.end + len(child.run) // WIDTH:
            _fail("I2", "a node does not end where its parent ends plus its run", child)
        if child.namespace != node.namespace:
            _fail("I2", "a node of another namespace", child)


def _check_holds(node: Node) -> None:
    held = sum(1 for child in _children(node) if child.holds)
    reasons = node.locks + (node.pending is not None) + held
    if node.holds != reasons or node.locks < 0:
        _fail("I3", "holds are not locks, pending and held children", node, expected=str(reasons))


def _check_pins(node: Node) -> None:
    own = node.own_pins or []
    if any(not pin.active or pin.node is not node or pin.length != node.end for pin in own):
        _fail("I4", "a node keeps a pin that is gone or another's", node)
    count = len(own) + sum(1 for child in _children(node) if child.pins)
    if node.pins != count:
        _fail("I4", "pins are not own pins and pinned children", node, expected=str(count))


def _check_counts(structure: Structure, nodes: list[Node], pin_room: int) -> None:
    locks = sum(node.locks for node in nodes)
    if structure.locks != locks:
        _fail("I3", "locks do not add up", expected=str(locks), got=str(structure.locks))
    pinned = sum(node.size for node in nodes if node.pins)
    if structure.pinned != pinned or pinned > pin_room:
        _fail(
            "I4",
            "pinned slots are off, or beyond the share",
            expected=f"{pinned}, at most {pin_room}",
            got=str(structure.pinned),
        )
    registered = {id(pin) for pin in structure.pins.active()}
    if registered != {id(pin) for node in nodes for pin in node.own_pins or ()}:
        _fail("I4", "the registry's pins are not the nodes' pins")
    evictable = sum(node.size for node in nodes if not node.holds)
    if structure.evictable != evictable:
        _fail("I5", "evictable is off", expected=str(evictable), got=str(structure.evictable))
    inner = [node for node in nodes if node.end]
    if structure.nodes != len(inner):
        _fail("I10", "node count is off", expected=str(len(inner)), got=str(structure.nodes))
    tokens = sum(node.size for node in inner)
    if structure.tokens != tokens:
        _fail("I10", "token count is off", expected=str(tokens), got=str(structure.tokens))


def _check_ages(structure: Structure, nodes: list[Node]) -> None:
    expected = {id(node) for node in nodes if node.end and not node.holds and not node.pins}
    place: dict[int, int] = {}
    last_use = 0
    for index, node in enumerate(structure.ages):
        if id(node) not in expected or id(node) in place:
            _fail("I6", "a node in the list of ages that does not belong there, or twice", node)
        if node.last_use < last_use:
            _fail("I6", "the list of ages is out of order", node)
        if node.newer.older is not node or node.older.newer is not node:
            _fail("I6", "the links of the list of ages disagree", node)
        last_use = node.last_use
        place[id(node)] = index
    if structure.reuse is not None:
        leaves = structure.reuse.leaves
        inside = [node for node in structure.ages if node.children is None]
        if len(leaves) != len(inside) or not all(node in leaves for node in inside):
            _fail("I11", "the evictable leaves are not those of the list of ages")
        for node in inside:
            if leaves.wanted(node) != (node.spots is not None):
                _fail("I11", "a leaf is in the wrong part of the evictable ones", node)
            key = (leaves.seen[node.place], leaves.rank[node.place])
            if leaves[node.place] is not node or key != (node.seen, leaves.rank_of(node)):
                _fail("I11", "a leaf is compared by what is not its own", node)
    for node in nodes:
        if id(node) in expected and id(node) not in place:
            _fail("I6", "an evictable node is missing from the list of ages", node)
        if id(node) not in expected and node.newer is not OUT:
            _fail("I6", "a held or pinned node has links of the list of ages", node)
        above = place.get(id(node.parent))
        if above is not None and place[id(node)] > above:
            _fail("I6", "a parent is older than its child", node)


def _check_pending(structure: Structure, nodes: list[Node]) -> None:
    said = {(id(node), node.pending) for node in nodes if node.pending is not None}
    listed = {(id(node), step) for step, group in structure.pending.items() for node in group}
    if said != listed or not all(structure.pending.values()):
        _fail("I7", "nodes registered as pending are not those that say so")


def _check_watchers(structure: Structure, nodes: list[Node]) -> None:
    count = 0
    loose: set[int] = set()
    for node in nodes:
        home = node.spots
        if home is None:
            continue
        if home.node is not node or not (home.loose or home.settled.at):
            _fail("I8", "spots that are another node's, or empty", node)
        for bundle in (home.settled, *home.loose):
            if bundle.home is not home or bundle.loose != (bundle is not home.settled):
                _fail("I8", "a bundle that says it hangs elsewhere", node)
            if bundle.loose and not bundle.at:
                _fail("I8", "an empty bundle was kept", node)
            count += sum(_check_spot(structure, node, bundle, depth) for depth in bundle.at)
        loose.update(map(id, home.loose))
    if structure.watchers.count != count:
        _fail("I8", "watchers are missing", expected=str(structure.watchers.count), got=str(count))
    if loose != set(map(id, structure.watchers.loose)):
        _fail("I8", "the bundles registered as loose are not those that hang somewhere")


def _check_spot(structure: Structure, node: Node, bundle: Bundle, depth: int) -> int:
    """Checks all who hang at one depth; returns how many they are."""
    page, spot, count = structure.page_bytes, bundle.at[depth], 0
    if spot.bundle is not bundle or spot.depth != depth or not spot.groups:
        _fail("I8", "a spot of another bundle, at the wrong depth, or empty", node)
    for wanted, group in spot.groups.items():
        if group.spot is not spot or group.wanted != wanted or group.first is None:
            _fail("I8", "a group of another spot, under another page, or empty", node)
        before, watcher = None, group.first
        while watcher is not None:
            count += 1
            if watcher.group is not group or watcher.before is not before:
                _fail("I8", "a watcher that says it hangs elsewhere", node)
            rest = to_run(watcher.key)[depth * WIDTH :]
            if wanted != (rest[:page] if len(rest) >= page else b""):
                _fail("I8", "a watcher under another page than it wants", node)
            reached, ended = _ends_at(structure, watcher.key, node)
            if bundle.loose and id(node) not in reached:
                _fail("I8", "a loose watcher's match does not reach into its node", node)
            if not bundle.loose and (ended != (id(node), depth) or watcher.found != depth):
                _fail("I8", "a watcher does not hang where its match ends", node)
            before, watcher = watcher, watcher.after
        if group.last is not before:
            _fail("I8", "a group whose last watcher is another", node)
    return count


def _ends_at(structure: Structure, key: Ints, near: Node) -> tuple[set[int], tuple[int, int]]:
    """The nodes that a key's match reaches into, and the node and depth where it ends."""
    root = structure.roots[near.namespace]
    path, inside, at = descend(root, to_run(key), structure.page_bytes)
    last = path[-1] if path else root
    reached = {id(node) for node in (root, *path, inside) if node is not None}
    return reached, (id(last if inside is None else inside), last.end + at // WIDTH)


def _check_slots(allocator: SlotAllocator, nodes: list[Node], running: Iterable[Ints]) -> None:
    cached = [as_array(node.slot_run) for node in nodes]
    own = [np.asarray(slots, np.int64) for slots in running]
    used = np.sort(np.concatenate([np.empty(0, np.int64), *cached, *own]))
    if len(used) > 1 and (used[1:] == used[:-1]).any():
        twice = used[1:][used[1:] == used[:-1]]
        _fail("I1", "slots used twice (tree and running)", got=str(twice[:8].tolist()))
    handed_out = allocator.handed_out()
    if not np.array_equal(used, handed_out):
        lost = np.setdiff1d(handed_out, used)[:8].tolist()
        stray = np.setdiff1d(used, handed_out)[:8].tolist()
        _fail(
            "I1",
            "slots are not split into free, tree and running",
            got=f"neither free nor used: {lost}; used and free: {stray}",
        )

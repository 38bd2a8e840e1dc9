"""Each invariant is broken, and the check names it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from espalier.errors import InvariantError
from espalier.radix_cache import Node, RadixCache, Watcher
from espalier.radix_cache.watch import Bundle, Group, Spot, Spots
from tests.radix_cache.building import cache_of, key, put


class Garden:
    """A small tree with one of everything: x is the root, names say the path."""

    def __init__(self) -> None:
        self.cache = cache_of(64, pin_share=0.5)
        put(self.cache, "abcd")
        self.ab = self.cache.match(key("ab")).node
        self.abcd = self.cache.match(key("abcd")).node
        self.abxy = put(self.cache, "abxy").node
        self.locked = put(self.cache, "locked").node
        self.cache.lock(self.locked)
        self.waits = put(self.cache, "waits", pending=3).node
        self.pinned = put(self.cache, "pinned").node
        self.pin = self.cache.pin(key("pinned"))
        self.watcher = self.cache.watch(key("abcdzz"), "", None)
        self.running = self.cache.allocator.alloc(3)
        self.tree = self.cache._structure
        root = self.ab.parent
        assert root is not None
        self.root: Node = root


def children(node: Node) -> dict[bytes, Node]:
    assert node.children is not None
    return node.children


def group_of(watcher: Watcher) -> Group:
    assert watcher.group is not None
    return watcher.group


def spot_of(watcher: Watcher) -> Spot:
    return group_of(watcher).spot


def swap_ages(garden: Garden) -> None:
    ages = garden.tree.ages
    ages.unlink(garden.ab)
    ages.put_after(garden.ab, ages._ends)


def older_use(garden: Garden) -> None:
    garden.ab.last_use = 0


def cross_links(garden: Garden) -> None:
    garden.abcd.older = garden.abxy


def rekey(garden: Garden) -> None:
    siblings = children(garden.ab)
    siblings[b"12345678"] = siblings.pop(garden.abcd.run[:8])


def odd_run(garden: Garden) -> None:
    garden.abcd.run += b"1234"


def missing_slot(garden: Garden) -> None:
    garden.abcd.slot_run = garden.abcd.slot_run[:-8]


def keep_empty_children(garden: Garden) -> None:
    garden.abcd.children = {}


def keep_empty_spots(garden: Garden) -> None:
    garden.abxy.spots = Spots(garden.abxy)


def keep_empty_root(garden: Garden) -> None:
    garden.tree.root("nobody")


def rename_root(garden: Garden) -> None:
    garden.tree.roots["other"] = garden.tree.roots.pop("")


def hang_elsewhere(garden: Garden) -> None:
    home = garden.abcd.spots
    assert home is not None
    garden.abcd.spots, garden.abxy.spots = None, home
    home.node = garden.abxy


def another_node(garden: Garden) -> None:
    spot_of(garden.watcher).bundle.home.node = garden.abxy


def empty_group(garden: Garden) -> None:
    spot = spot_of(garden.watcher)
    spot.groups[b"12345678"] = Group(spot, b"12345678")


def no_group(garden: Garden) -> None:
    garden.watcher.group = None


def no_last(garden: Garden) -> None:
    group_of(garden.watcher).last = None


def called_loose(garden: Garden) -> None:
    spot_of(garden.watcher).bundle.loose = True


def loosened(garden: Garden) -> Bundle:
    """The bundle of those who follow a new node, `abcdzz`."""
    put(garden.cache, "abcdzz")
    assert garden.watcher.loose
    return spot_of(garden.watcher).bundle


def unregistered(garden: Garden) -> None:
    del garden.tree.watchers.loose[loosened(garden)]


def empty_bundle(garden: Garden) -> None:
    home = loosened(garden).home
    bundle = Bundle(home)
    bundle.loose = True
    home.loose[bundle] = garden.tree.watchers.loose[bundle] = None


def out_of_reach(garden: Garden) -> None:
    home = loosened(garden).home
    home.node.spots, garden.abxy.spots = None, home
    home.node = garden.abxy


def forget_pending(garden: Garden) -> None:
    del garden.tree.pending[3]


def register_twice(garden: Garden) -> None:
    garden.tree.pending[9] = {garden.waits: None}


def empty_step(garden: Garden) -> None:
    garden.tree.pending[9] = {}


def use_a_slot_twice(garden: Garden) -> None:
    garden.abcd.slot_run = garden.abxy.slot_run


def lose_slots(garden: Garden) -> None:
    garden.cache.allocator.alloc(2)


def free_a_used_slot(garden: Garden) -> None:
    garden.cache.allocator.free(garden.abcd.slots[:1])


def unlink(garden: Garden) -> None:
    garden.tree.ages.unlink(garden.abcd)


def push_held(garden: Garden) -> None:
    garden.locked.last_use = 1 << 40
    garden.tree.ages.push(garden.locked)


def stray_links(garden: Garden) -> None:
    garden.locked.newer = garden.ab


def over_the_share(garden: Garden) -> None:
    garden.cache._pin_room = 5


def forget_pin(garden: Garden) -> None:
    garden.pinned.own_pins = None
    garden.pinned.pins = garden.root.pins = 0
    garden.tree.pinned = 0


def deactivate_pin(garden: Garden) -> None:
    garden.pin.active = False


def unregister_pin(garden: Garden) -> None:
    garden.tree.pins._strong.clear()


def add(name: str, amount: int = 1) -> Callable[[Garden], None]:
    """Puts a count of the tree, or of a node as in "node.count", off by `amount`."""

    def damage(garden: Garden) -> None:
        owner: object = garden.tree
        *path, last = name.split(".")
        for part in path:
            owner = getattr(garden, part)
        setattr(owner, last, getattr(owner, last) + amount)

    damage.__name__ = f"{name}{amount:+}"
    return damage


def set_to(name: str, value: str | None) -> Callable[[Garden], None]:
    """Sets a node's attribute to a value, or to another node of the garden."""

    def damage(garden: Garden) -> None:
        owner, last = name.split(".")
        setattr(getattr(garden, owner), last, getattr(garden, value, value) if value else value)

    damage.__name__ = f"{name}={value}"
    return damage


BREAKS: list[tuple[str, Callable[[Garden], None]]] = [
    ("A1", lambda garden: garden.cache.allocator._marks.fill(0)),
    ("A2", lambda garden: setattr(garden.cache.allocator, "available", 7)),
    ("I1", use_a_slot_twice),
    ("I1", lose_slots),
    ("I1", free_a_used_slot),
    ("I2", rekey),
    ("I2", odd_run),
    ("I2", missing_slot),
    ("I2", keep_empty_children),
    ("I2", add("abcd.end")),
    ("I2", set_to("abcd.parent", "abxy")),
    ("I2", set_to("abcd.namespace", "other")),
    ("I3", add("abcd.holds")),
    ("I3", add("locked.locks")),
    ("I3", add("root.holds", -1)),
    ("I3", add("locks")),
    ("I4", add("abcd.pins")),
    ("I4", add("root.pins", -1)),
    ("I4", add("pinned")),
    ("I4", over_the_share),
    ("I4", forget_pin),
    ("I4", deactivate_pin),
    ("I4", unregister_pin),
    ("I4", add("pin.length")),
    ("I5", add("evictable", -1)),
    ("I6", swap_ages),
    ("I6", older_use),
    ("I6", cross_links),
    ("I6", unlink),
    ("I6", push_held),
    ("I6", stray_links),
    ("I7", forget_pending),
    ("I7", register_twice),
    ("I7", empty_step),
    ("I8", keep_empty_spots),
    ("I8", hang_elsewhere),
    ("I8", empty_group),
    ("I8", another_node),
    ("I8", no_group),
    ("I8", no_last),
    ("I8", called_loose),
    ("I8", unregistered),
    ("I8", empty_bundle),
    ("I8", out_of_reach),
    ("I8", add("watcher.found")),
    ("I8", lambda garden: setattr(group_of(garden.watcher), "wanted", b"")),
    ("I8", lambda garden: setattr(spot_of(garden.watcher), "depth", 3)),
    ("I8", lambda garden: setattr(garden.tree.watchers, "count", 2)),
    ("I9", keep_empty_root),
    ("I9", rename_root),
    ("I10", add("nodes")),
    ("I10", add("tokens")),
]


@pytest.mark.parametrize(
    ("name", "damage"), BREAKS, ids=[f"{name}-{damage.__name__}" for name, damage in BREAKS]
)
def test_a_broken_invariant_is_named(name: str, damage: Callable[[Garden], None]) -> None:
    garden = Garden()
    assert garden.running is not None
    garden.cache.check_invariants(running=[garden.running])
    damage(garden)
    with pytest.raises(InvariantError, match=f"^{name}:"):
        garden.cache.check_invariants(running=[garden.running])


def test_every_numbered_invariant_is_broken_here() -> None:
    assert {name for name, _ in BREAKS} == {
        "A1",
        "A2",
        *(f"I{n}" for n in range(1, 11)),
    }  # I11: test_reuse.py


def test_a_parent_older_than_its_child_is_named() -> None:
    """The same last use for both, so that only their order is wrong."""
    cache = cache_of()
    put(cache, "abcd")
    upper = cache.match(key("ab")).node
    lower = cache.match(key("abcd")).node
    ages = cache._structure.ages
    for node in (upper, lower):
        ages.unlink(node)
        ages.push(node)
    with pytest.raises(InvariantError, match=r"^I6: a parent is older than its child"):
        cache.check_invariants()


def test_running_slots_count() -> None:
    cache: RadixCache = cache_of()
    own = cache.allocator.alloc(3)
    assert own is not None
    with pytest.raises(InvariantError, match=r"^I1: .*neither free nor used: \[0, 1, 2\]"):
        cache.check_invariants()
    cache.check_invariants(running=[own[:1], own[1:]])
    with pytest.raises(InvariantError, match=r"^I1: slots used twice"):
        cache.check_invariants(running=[own, own[:1]])
    with pytest.raises(InvariantError, match=r"^I1: .*used and free: \[9\]"):
        cache.check_invariants(running=[own, np.array([9])])


def test_the_structure_refuses_what_would_break_it() -> None:
    garden = Garden()
    for node, at in ((garden.root, 8), (garden.abcd, 0), (garden.abcd, 16)):
        with pytest.raises(InvariantError, match=r"^I2: a split outside"):
            garden.tree.split(node, at)
    for node in (garden.locked, garden.pinned, garden.ab, garden.root):
        with pytest.raises(InvariantError, match=r"^I6: only a leaf"):
            garden.tree.detach(node)
    with pytest.raises(InvariantError, match=r"^I2: a root"):
        garden.tree.cut(garden.root)

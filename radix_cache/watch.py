"""Watchers: waiting requests that hang on the tree where their match ends.

A watcher with match length d hangs at the node whose run holds depth d (start < d <= end; the root
for 0), in the `Spot` of that depth, under the page that its key wants next. So a change touches
only those whose match it changes, and those it touches together, whatever their number:
- a new child with first page g takes the group g of the spot at its parent's end;
- a split hands each half its spots as a whole (one assignment per distinct depth);
- a node that leaves gives all that hang there to its parent.
Who was moved like this is *loose*: known to reach into the node, and no more. It is looked at, and
settled where its match ends, when its depth is asked for or its turn comes in `next_moved`.
Watching splits nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .node import Node
from .runs import WIDTH, Ints, as_array, first_mismatch


class Watcher:
    """A key and the current length of its longest cached prefix, in whole pages.

    owner: whatever the caller wants back. key: as given. asked: the number of the request it stands
    for. found: `depth` when it was last looked at, which after `unwatch` is for good. group,
    before, after, index: the tree's.
    """

    __slots__ = ("after", "asked", "before", "found", "group", "index", "key", "owner")

    def __init__(self, key: Ints, owner: object, asked: int) -> None:
        self.key = key
        self.asked = asked
        self.owner = owner
        self.found = 0
        self.group: Group | None = None
        self.before: Watcher | None = None
        self.after: Watcher | None = None
        self.index: WatchIndex | None = None

    @property
    def active(self) -> bool:
        """Whether it is being watched."""
        return self.group is not None

    @property
    def loose(self) -> bool:
        """Whether `depth` may differ from `found`."""
        return self.group is not None and self.group.spot.bundle.loose

    @property
    def depth(self) -> int:
        """That length, always current: it is looked for when it must be."""
        if self.index is not None and self.loose:
            self.index.settle(self)
        return self.found

    def __repr__(self) -> str:
        return f"<Watcher depth={self.depth} of {len(self.key)} owner={self.owner!r}>"


class Group:
    """Watchers of one spot that want the same page next, in the order they came.

    wanted: that page; empty where less than a page of the key is left.
    """

    __slots__ = ("first", "last", "spot", "wanted")

    def __init__(self, spot: Spot, wanted: bytes) -> None:
        self.spot = spot
        self.wanted = wanted
        self.first: Watcher | None = None
        self.last: Watcher | None = None

    def append(self, watcher: Watcher) -> None:
        """A watcher that is in no group."""
        last = self.last
        if last is None:
            self.first = watcher
        else:
            last.after = watcher
        watcher.before, watcher.after, watcher.group = last, None, self
        self.last = watcher

    def remove(self, watcher: Watcher) -> None:
        """A watcher of this group."""
        before, after = watcher.before, watcher.after
        if before is None:
            self.first = after
        else:
            before.after = after
        if after is None:
            self.last = before
        else:
            after.before = before
        watcher.before = watcher.after = watcher.group = None


class Spot:
    """A depth at which watchers hang, grouped by the page they want next."""

    __slots__ = ("bundle", "depth", "groups")

    def __init__(self, bundle: Bundle, depth: int) -> None:
        self.bundle = bundle
        self.depth = depth
        self.groups: dict[bytes, Group] = {}


class Bundle:
    """Spots by depth: those settled at a node, or loose ones, where they hung before they moved."""

    __slots__ = ("at", "home", "loose")

    def __init__(self, home: Spots) -> None:
        self.home = home
        self.loose = False
        self.at: dict[int, Spot] = {}


class Spots:
    """All who hang at one node. loose: bundles of those whose match reaches into the node's first
    page at least (or whatever they match, at a root)."""

    __slots__ = ("loose", "node", "settled")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.settled = Bundle(self)
        self.loose: dict[Bundle, None] = {}


class WatchIndex:
    """Moves watchers as the tree changes. count: watchers. loose: all nodes' loose bundles.

    changed: is told of each node at which the first comes to hang, or nobody hangs any more.
    """

    def __init__(self, page_size: int, changed: Callable[[Node], object]) -> None:
        self._page_size = page_size
        self._changed = changed
        self._moved: dict[Watcher, None] = {}  # settled, and not told yet
        self.loose: OrderedDict[Bundle, None] = OrderedDict()
        self.count = 0

    # Hanging

    def hang(self, watcher: Watcher, node: Node, depth: int) -> None:
        """Hangs a watcher that hangs nowhere where its match ends."""
        home = node.spots
        if home is None:
            home = node.spots = Spots(node)
            self._changed(node)
        bundle = home.settled
        spot = bundle.at.get(depth)
        if spot is None:
            spot = bundle.at[depth] = Spot(bundle, depth)
        end = depth + self._page_size
        wanted = watcher.key[depth:end].tobytes() if end <= len(watcher.key) else b""
        group = spot.groups.get(wanted)
        if group is None:
            group = spot.groups[wanted] = Group(spot, wanted)
        group.append(watcher)
        watcher.found = depth
        watcher.index = self

    def unhang(self, watcher: Watcher) -> Node | None:
        """Takes a watcher off for good, and returns the node it hung at; None if it hung
        nowhere."""
        if watcher.group is None:
            return None
        self._moved.pop(watcher, None)
        return self._take_off(watcher, watcher.group)

    def _take_off(self, watcher: Watcher, group: Group) -> Node:
        spot = group.spot
        bundle = spot.bundle
        node = bundle.home.node
        group.remove(watcher)
        if group.first is None:
            del spot.groups[group.wanted]
            if not spot.groups:
                del bundle.at[spot.depth]
                self._drop_if_empty(bundle)
        return node

    def _drop_if_empty(self, bundle: Bundle) -> None:
        if bundle.at:
            return
        home = bundle.home
        if bundle.loose:
            del home.loose[bundle], self.loose[bundle]
        if not home.loose and not home.settled.at:
            home.node.spots = None
            self._changed(home.node)

    # What changes in the tree

    def split(self, lower: Node, upper: Node) -> None:
        """`upper` took the upper half of `lower`'s run: it takes the loose, who reach into it, and
        the spots up to its end."""
        home = lower.spots
        if home is None:
            return
        lower.spots = None
        settled = home.settled.at
        deeper = {depth: spot for depth, spot in settled.items() if depth > upper.end}
        if deeper:
            below = lower.spots = Spots(lower)
            below.settled.at = deeper
            for depth, spot in deeper.items():
                del settled[depth]
                spot.bundle = below.settled
        if settled or home.loose:
            home.node = upper
            upper.spots = home
        self._changed(lower)

    def grew(self, parent: Node, child: Node) -> None:
        """`child`, a leaf, is new under `parent`: those who wanted its first page follow it."""
        home = parent.spots
        spot = home.settled.at.get(parent.end) if home is not None else None
        if home is None or spot is None:
            return
        group = spot.groups.pop(child.run[: self._page_size * WIDTH], None)
        if group is None:
            return
        if not spot.groups:
            del home.settled.at[spot.depth]
            self._drop_if_empty(home.settled)
        child.spots = Spots(child)
        self._changed(child)
        bundle = Bundle(child.spots)
        group.spot = bundle.at[spot.depth] = Spot(bundle, spot.depth)
        group.spot.groups[group.wanted] = group
        self._loosen(bundle)

    def fell(self, gone: Node, survivor: Node) -> None:
        """`gone` left the tree: all that hang there hang at `survivor` now."""
        falling = gone.spots
        if falling is None:
            return
        gone.spots = None
        if falling.settled.at:
            self._loosen(falling.settled)
            falling.settled = Bundle(falling)
        home = survivor.spots
        if home is None:
            home = falling
        else:
            if len(falling.loose) > len(home.loose):  # the few go to the many
                falling.settled = home.settled
                falling.settled.home = falling
                falling, home = home, falling
            for bundle in falling.loose:
                bundle.home = home
            home.loose.update(falling.loose)
        home.node = survivor
        survivor.spots = home
        self._changed(survivor)

    def _loosen(self, bundle: Bundle) -> None:
        bundle.loose = True
        bundle.home.loose[bundle] = self.loose[bundle] = None

    # Looking where they are

    def settle(self, watcher: Watcher) -> None:
        """Looks where a loose watcher's match ends; `next_moved` tells if that changed its
        depth."""
        if watcher.group is None:
            return
        before = watcher.found
        self._place(watcher, self._take_off(watcher, watcher.group))
        if watcher.found != before:
            self._moved[watcher] = None

    def next_moved(self) -> Watcher | None:
        """A watcher whose depth changed, or may have, since it was last told here; None when all
        is told. Looks at one watcher at most; who was settled last is told first."""
        if self._moved:
            return self._moved.popitem()[0]
        bundle = next(iter(self.loose), None)
        if bundle is None:
            return None
        watcher, node = self._pop(bundle)
        self._place(watcher, node)
        return watcher

    def _pop(self, bundle: Bundle) -> tuple[Watcher, Node]:
        """Takes off one of a bundle's watchers, of a group the first to come. (`popitem` and no
        search, which would pass over all that was there before.)"""
        node = bundle.home.node
        depth, spot = bundle.at.popitem()
        wanted, group = spot.groups.popitem()
        watcher = group.first
        assert watcher is not None
        group.remove(watcher)
        if group.first is not None:
            spot.groups[wanted] = group
        if spot.groups:
            bundle.at[depth] = spot
        self._drop_if_empty(bundle)
        return watcher, node

    def _place(self, watcher: Watcher, node: Node) -> None:
        """Hangs a watcher that reaches into `node` where its match ends: there or below."""
        key, page = watcher.key, self._page_size
        at = node if node.parent is None else node.parent
        while True:
            start = at.end
            first = key[start : start + page].tobytes()
            child = at.children.get(first) if at.children is not None else None
            if child is None:
                self.hang(watcher, at, start)
                return
            ours = key[start : child.end]
            if ours.tobytes() != child.run:
                common = first_mismatch(ours, as_array(child.run)[: len(ours)])
                self.hang(watcher, child, start + common - common % page)
                return
            at = child

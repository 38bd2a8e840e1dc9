"""The naive model: a dict from each cached prefix to its page, which knows nothing of nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

from espalier.radix_cache import Node, Pin, RadixCache

Prefix = tuple[str, tuple[int, ...]]


@dataclass
class Page:
    slots: tuple[int, ...]
    pending: int | None
    used: int


@dataclass
class Handle:
    node: Node
    prefix: Prefix
    locks: int = 0
    discarded: bool = False


@dataclass
class ModelPin:
    pin: Pin
    prefix: Prefix
    expires: float | None


@dataclass
class Model:
    """Pages by (namespace, all tokens up to the page's end)."""

    page: int
    pages: dict[Prefix, Page] = field(default_factory=dict)
    handles: list[Handle] = field(default_factory=list)
    pins: list[ModelPin] = field(default_factory=list)
    now: int = 0
    before: tuple[set[Prefix], set[Prefix]] = field(default_factory=lambda: (set(), set()))

    def ends(self, prefix: Prefix) -> list[Prefix]:
        namespace, tokens = prefix
        return [(namespace, tokens[:end]) for end in range(self.page, len(tokens) + 1, self.page)]

    def match(self, namespace: str, key: tuple[int, ...]) -> int:
        depth = 0
        for prefix in self.ends((namespace, key)):
            if prefix not in self.pages:
                break
            depth = len(prefix[1])
        return depth

    def slots(self, prefix: Prefix, start: int = 0) -> list[int]:
        found = [slot for end in self.ends(prefix) for slot in self.pages[end].slots]
        return found[start:]

    def held(self) -> set[Prefix]:
        holders = [
            handle.prefix for handle in self.handles if handle.locks and not handle.discarded
        ]
        holders += [prefix for prefix, page in self.pages.items() if page.pending is not None]
        return {end for prefix in holders for end in self.ends(prefix)}

    def pinned(self) -> set[Prefix]:
        return {end for pin in self.pins for end in self.ends(pin.prefix)}

    def touch(self, prefix: Prefix) -> None:
        for end in self.ends(prefix):
            self.pages[end].used = self.now

    def covered(self) -> tuple[set[Prefix], set[Prefix]]:
        return self.held(), self.pinned()

    def tick(self) -> None:
        """An operation begins."""
        self.now += 1
        self.before = self.covered()

    def let_go(self) -> tuple[set[Prefix], set[Prefix]]:
        """What is no more held, or no more pinned, counts as used now."""
        held, pinned = self.covered()
        for covered, was in zip((held, pinned), self.before, strict=True):
            for prefix in was - covered:
                if prefix in self.pages:
                    self.pages[prefix].used = self.now
        self.before = held, pinned
        return held, pinned

    def check_lost_pins(self, held: set[Prefix], pressed: bool) -> None:
        """Only under pressure, the oldest first, and never one whose prefix is held."""
        lost = [pin for pin in self.pins if not pin.pin.active]
        self.pins = [pin for pin in self.pins if pin.pin.active]
        assert pressed == bool(lost)
        for pin in lost:
            assert pin.prefix not in held
            for kept in self.pins:
                assert kept.prefix in held or kept.pin.serial > pin.pin.serial

    def check_handles(self) -> None:
        """Handles end where they did; locked ones live unless they were discarded."""
        for handle in self.handles:
            node, (namespace, tokens) = handle.node, handle.prefix
            assert (node.end, node.namespace) == (len(tokens), namespace)
            if handle.locks and not handle.discarded:
                assert node.alive
            if node.alive:
                assert path_of(node) == tokens
            if handle.discarded and tokens:
                assert not node.alive

    def check_view(self, cache: RadixCache) -> None:
        """The tree's nodes are these pages and no others."""
        seen: set[Prefix] = set()
        stack: list[tuple[int, ...]] = []
        for view in cache.walk():
            del stack[view.level :]
            above = stack[-1] if stack else ()
            assert len(above) == view.start
            stack.append(above + tuple(view.key.tolist()))
            for end in range(view.start + self.page, view.end + 1, self.page):
                prefix = (view.namespace, stack[-1][:end])
                seen.add(prefix)
                assert self.pages[prefix].pending == view.pending
        assert seen == set(self.pages)


def path_of(node: Node) -> tuple[int, ...]:
    """All tokens from the root to the node's end."""
    parts: list[list[int]] = []
    at: Node | None = node
    while at is not None:
        parts.append(at.key.tolist())
        at = at.parent
    return tuple(token for part in reversed(parts) for token in part)


def tokens_of(page: int, choices: list[int], tail: int) -> tuple[int, ...]:
    """A key of pages that differ at once, at their last token, or not, and less than a page."""
    kinds = ([7] * page, [7] * (page - 1) + [8], [9] * page)
    pages = [token for choice in choices for token in kinds[choice]]
    return tuple(pages + [7] * (tail % page))

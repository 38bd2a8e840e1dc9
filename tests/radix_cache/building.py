"""Small caches for tests: tokens are given as strings of letters, one token a letter."""

from __future__ import annotations

import numpy as np

from espalier.radix_cache import Insertion, Node, RadixCache, SlotAllocator, Watcher


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cache_of(capacity: int = 64, page: int = 1, **options: object) -> RadixCache:
    """A cache over a fresh allocator."""
    return RadixCache(SlotAllocator(capacity, page), **options)  # type: ignore[arg-type]


def key(text: str) -> np.ndarray:
    """The code points of the letters."""
    return np.array([ord(letter) for letter in text], np.int64)


def put(
    cache: RadixCache,
    text: str,
    namespace: str = "",
    *,
    after: Node | None = None,
    pending: int | None = None,
    asked: int | None = None,
) -> Insertion:
    """Inserts with fresh slots, and frees the duplicates."""
    slots = cache.allocator.alloc(len(text) - (after.end if after is not None else 0))
    assert slots is not None
    done = cache.insert(key(text), slots, namespace, after=after, pending=pending, asked=asked)
    cache.allocator.free(done.duplicates)
    return done


def cached(cache: RadixCache, namespace: str = "") -> list[str]:
    """Every leaf's path, sorted."""
    paths: list[str] = []
    leaves: list[str] = []
    for view in cache.walk():
        if view.namespace != namespace:
            continue
        del paths[view.level :]
        paths.append("".join([*paths[-1:], *(chr(token) for token in view.key)]))
        if not view.children:
            leaves.append(paths[-1])
    return sorted(leaves)


def told(cache: RadixCache, most: int | None = None) -> list[Watcher]:
    """What `next_moved` tells, until all is told, or so often."""
    watchers: list[Watcher] = []
    while len(watchers) != most and (watcher := cache.next_moved()) is not None:
        watchers.append(watcher)
    return watchers

"""The host tier: whatever leaves the device's tree is found again, and copies keep their order."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from espalier.radix_cache import HostTier, RadixCache, SlotAllocator


class Two:
    """A device's tree over a host tier, and what each slot of both holds: the prefix up to it."""

    def __init__(self, device: int, host: int, page: int) -> None:
        self.page = page
        self.tier = HostTier(host, page, least=1)
        self.allocator = SlotAllocator(device, page)
        self.cache = RadixCache(self.allocator, leaving=self.tier.save)
        self.device: dict[int, tuple[str, tuple[int, ...]]] = {}
        self.host: dict[int, tuple[str, tuple[int, ...]]] = {}

    def take(self, count: int) -> np.ndarray | None:
        if count > self.allocator.available:
            self.cache.evict(count - self.allocator.available)
        return self.allocator.alloc(count)

    def copy(self) -> None:
        for move in self.tier.drain():
            for here, there in zip(move.device.tolist(), move.host.tolist(), strict=True):
                if move.kind == "save":
                    self.host[there] = self.device[here]
                else:
                    self.device[here] = self.host[there]

    def use(self, key: tuple[int, ...], namespace: str) -> int:
        """As an engine would: match, load, compute the rest. Returns what was computed."""
        array = np.array(key, np.int64)
        found = self.cache.match(array, namespace)
        self.cache.lock(found.node)
        node, at = found.node, found.length
        slots = self.tier.load(array, namespace, at, self.take)
        if slots is not None:
            whole = array[: at + len(slots)]
            added = self.cache.insert(whole, slots, namespace, after=node, pending=0)
            self.cache.lock(added.node)
            self.cache.unlock(node)
            node, at = added.node, at + len(slots)
        rest = self.take(len(key) - at)
        self.copy()
        self.cache.commit(0)
        if rest is not None and len(rest):
            for place, slot in enumerate(rest.tolist(), at + 1):
                self.device[slot] = (namespace, key[:place])
            added = self.cache.insert(array, rest, namespace, after=node)
            self.cache.lock(added.node)
            self.cache.unlock(node)
            node = added.node
        self.cache.unlock(node)
        self.check(key[: node.end], namespace)
        return len(key) - at

    def check(self, key: tuple[int, ...], namespace: str) -> None:
        match = self.cache.match(np.array(key, np.int64), namespace)
        assert match.length == len(key)
        for place, slot in enumerate(match.slots.tolist(), 1):
            assert self.device[slot] == (namespace, key[:place])
        self.cache.check_invariants()
        self.tier.check_invariants()


KEYS = st.lists(st.tuples(st.lists(st.integers(0, 1), max_size=6), st.sampled_from(["", "b"])))


@settings(max_examples=200, deadline=None)
@given(
    uses=KEYS,
    device=st.sampled_from([8, 12, 40]),
    host=st.sampled_from([1, 8, 20, 200]),
    page=st.sampled_from([1, 4]),
)
def test_what_is_read_is_what_was_written(
    uses: list[tuple[list[int], str]], device: int, host: int, page: int
) -> None:
    two = Two(device, host * page, page)
    for choices, namespace in uses:
        key = tuple(token for choice in choices for token in [choice, *range(2, page + 1)])
        two.use(key[: device // page * page], namespace)


def test_a_host_that_holds_everything_computes_everything_once() -> None:
    rng = random.Random(0)
    keys = [tuple(rng.choices(range(3), k=rng.randint(1, 12))) for _ in range(400)]
    two = Two(16, 4000, 1)
    computed = sum(two.use(key, "") for key in keys)
    assert computed == len({key[:end] for key in keys for end in range(1, len(key) + 1)})


def test_a_path_is_copied_once_however_often_its_leaf_is_trimmed() -> None:
    two = Two(40, 400, 1)
    two.use(tuple(range(40)), "")
    for _ in range(40):
        two.cache.evict(1)
    assert two.tier.saved == 40
    assert two.use(tuple(range(40)), "") == 0
    two.cache.evict(40)
    assert two.tier.saved == 40


def test_what_is_short_is_not_loaded() -> None:
    two = Two(64, 400, 1)
    two.tier.least = 32
    two.use(tuple(range(40)), "")
    two.cache.evict(31)
    assert two.use(tuple(range(40)), "") == 31
    two.cache.evict(32)
    assert two.use(tuple(range(40)), "") == 0

"""RadixCache against the model of naive.py.

After every operation all of its answers are compared, the
invariants are checked, and every watcher's depth is compared with `peek`.
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from espalier.errors import InvariantError
from espalier.radix_cache import RadixCache, SlotAllocator, Watcher
from tests.radix_cache.building import told
from tests.radix_cache.naive import Handle, Model, ModelPin, Page, tokens_of

PAGES = 40
NAMESPACES = ("", "lora")


class CacheMachine(RuleBasedStateMachine):
    """One operation at a time, on both."""

    page = 1

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.allocator = SlotAllocator(PAGES * self.page, self.page)
        self.cache = RadixCache(self.allocator, clock=lambda: self.time)
        self.model = Model(self.page)
        self.watchers: list[tuple[Watcher, str, tuple[int, ...], int]] = []
        self.room = PAGES // 2 * self.page
        self.step = 0
        self.looks = True

    @initialize(looks=st.booleans())
    def begin(self, looks: bool) -> None:
        """Whether all depths are looked at after each operation, or only now and then."""
        self.looks = looks

    # What a rule leaves behind is compared here

    @invariant()
    def agrees(self) -> None:
        model, tree = self.model, self.cache
        held, pinned = self.model.let_go()
        tree.check_invariants()
        assert tree.evictable == (len(model.pages) - len(held)) * self.page
        assert tree._structure.pinned == len(pinned) * self.page
        assert tree._structure.tokens == len(model.pages) * self.page
        assert self.allocator.available == (PAGES - len(model.pages)) * self.page
        assert set(tree._structure.roots) >= {namespace for namespace, _ in model.pages}
        self.model.check_handles()
        self._check_watchers()
        self.model.check_view(self.cache)

    def _check_watchers(self) -> None:
        """Where nobody looks, the tree is left as lazy as it is."""
        if not self.looks:
            return
        changed = set()
        for index, (watcher, namespace, key, before) in enumerate(self.watchers):
            self._look(index)
            depth = self.model.match(namespace, key)
            if depth != before:
                changed.add(id(watcher))
                self.watchers[index] = (watcher, namespace, key, depth)
        assert {id(watcher) for watcher in told(self.cache)} == changed

    def _look(self, index: int) -> None:
        watcher, namespace, key, _ = self.watchers[index]
        depth = self.model.match(namespace, key)
        assert watcher.depth == depth == self.cache.peek(np.array(key, np.int64), namespace)

    def _alloc(self, count: int) -> np.ndarray | None:
        slots = self.allocator.alloc(count)
        if slots is None:
            self._evict(count - self.allocator.available)
            slots = self.allocator.alloc(count)
        return slots

    key = st.lists(st.sampled_from([0, 0, 1, 2]), max_size=8)
    name = st.sampled_from(NAMESPACES)
    tail = st.integers(0, 15)
    seldom = st.sampled_from([False, False, False, True])

    # The rules

    @rule(choices=key, tail=tail, namespace=name, lock=seldom)
    def match(self, choices: list[int], tail: int, namespace: str, lock: bool) -> None:
        self.model.tick()
        self._match(tokens_of(self.page, choices, tail), namespace, None, lock)

    @precondition(lambda self: any(handle.node.alive for handle in self.model.handles))
    @rule(choices=key, tail=tail, which=st.integers(0, 99), lock=seldom)
    def match_after(self, choices: list[int], tail: int, which: int, lock: bool) -> None:
        self.model.tick()
        handle = self._living(which)
        namespace, tokens = handle.prefix
        self._match(tokens + tokens_of(self.page, choices, tail), namespace, handle, lock)

    def _living(self, which: int) -> Handle:
        living = [handle for handle in self.model.handles if handle.node.alive]
        return living[which % len(living)]

    def _match(
        self, key: tuple[int, ...], namespace: str, after: Handle | None, lock: bool
    ) -> None:
        model = self.model
        start = len(after.prefix[1]) if after is not None else 0
        found = self.cache.match(
            np.array(key, np.int64), namespace, after=after.node if after is not None else None
        )
        length = model.match(namespace, key)
        prefix = (namespace, key[:length])
        assert found.length == length == found.node.end
        assert found.slots.tolist() == model.slots(prefix, start)
        waiting = [
            end
            for end in model.ends(prefix)
            if len(end[1]) > start and model.pages[end].pending is not None
        ]
        assert found.pending == len(waiting) * self.page
        model.touch(prefix)
        handle = Handle(found.node, prefix)
        model.handles.append(handle)
        if lock:
            self._lock(handle)

    def _lock(self, handle: Handle) -> None:
        self.cache.lock(handle.node)
        handle.locks += 1

    @rule(
        choices=key,
        namespace=name,
        pending=seldom,
        lock=seldom,
        which=st.none() | st.integers(0, 99),
    )
    def insert(
        self, choices: list[int], namespace: str, pending: bool, lock: bool, which: int | None
    ) -> None:
        self.model.tick()
        model = self.model
        locked = [handle for handle in model.handles if handle.locks and not handle.discarded]
        after = locked[which % len(locked)] if which is not None and locked else None
        key = tokens_of(self.page, choices, 0)
        start = 0
        if after is not None:
            namespace = after.prefix[0]
            start = len(after.prefix[1])
            key = after.prefix[1] + key
        slots = self._alloc(len(key) - start)
        if slots is None:
            return
        self.step += 1
        known = model.match(namespace, key)
        own = model.slots((namespace, key[:known]), start)
        done = self.cache.insert(
            np.array(key, np.int64),
            slots,
            namespace,
            after=after.node if after is not None else None,
            pending=self.step if pending else None,
        )
        assert done.start == start
        assert done.existing.tolist() == own
        assert done.duplicates.tolist() == slots[: len(own)].tolist()
        self.allocator.free(done.duplicates)
        for prefix in model.ends((namespace, key)):
            at = len(prefix[1])
            if prefix not in model.pages:
                fresh = slots[at - self.page - start : at - start]
                page = Page(tuple(fresh.tolist()), self.step if pending else None, model.now)
                model.pages[prefix] = page
        model.touch((namespace, key))
        handle = Handle(done.node, (namespace, key))
        model.handles.append(handle)
        if lock:
            self._lock(handle)

    @rule(choices=key, namespace=name)
    def insert_own_slots_again(self, choices: list[int], namespace: str) -> None:
        self.model.tick()
        key = tokens_of(self.page, choices, 0)
        key = key[: self.model.match(namespace, key)]
        slots = self.model.slots((namespace, key))
        done = self.cache.insert(np.array(key, np.int64), np.array(slots, np.int64), namespace)
        assert done.existing.tolist() == slots
        assert len(done.duplicates) == 0
        self.model.touch((namespace, key))

    @rule(back=st.integers(0, 4))
    def commit(self, back: int) -> None:
        self.model.tick()
        self.cache.commit(self.step - back)
        for page in self.model.pages.values():
            if page.pending is not None and page.pending <= self.step - back:
                page.pending = None

    @rule(back=st.integers(0, 3))
    def discard(self, back: int) -> None:
        self.model.tick()
        model = self.model
        step = self.step - back
        failed = {
            prefix
            for prefix, page in model.pages.items()
            if page.pending is not None and page.pending >= step
        }
        gone = {prefix for prefix in model.pages if failed & set(model.ends(prefix))}
        removed = self.cache.discard(step)
        slots = [slot for run in removed for slot in run.slots.tolist()]
        assert sorted(slots) == sorted(slot for end in gone for slot in model.pages[end].slots)
        told = {id(run.node) for run in removed}
        for run in removed:
            assert not run.node.alive
            assert run.survivor.alive
            assert run.node.end - run.start == len(run.slots)
            self.allocator.free(run.slots)
        for prefix in gone:
            del model.pages[prefix]
        model.pins = [pin for pin in model.pins if not gone & set(model.ends(pin.prefix))]
        for handle in model.handles:
            if handle.locks and not handle.discarded and handle.prefix in gone:
                assert id(handle.node) in told
                handle.discarded = True
        self._forget_unlocked()

    @rule(which=st.integers(0, 99))
    def lock(self, which: int) -> None:
        self.model.tick()
        living = [handle for handle in self.model.handles if handle.node.alive]
        if living:
            self._lock(living[which % len(living)])

    @rule(which=st.integers(0, 99), many=st.integers(1, 3))
    def unlock(self, which: int, many: int) -> None:
        self.model.tick()
        for _ in range(many):
            locked = [handle for handle in self.model.handles if handle.locks]
            if not locked:
                break
            handle = locked[which % len(locked)]
            self.cache.unlock(handle.node)
            handle.locks -= 1

    @rule(which=st.integers(0, 99))
    def unlock_once_too_often(self, which: int) -> None:
        free = {id(handle.node): handle.node for handle in self.model.handles if handle.node.end}
        for handle in self.model.handles:
            if handle.locks:
                free.pop(id(handle.node), None)
        if free:
            node = list(free.values())[which % len(free)]
            with pytest.raises(InvariantError, match=r"^I3: unlocked"):
                self.cache.unlock(node)

    @rule(pages=st.integers(0, 12), rest=st.integers(0, 15))
    def evict(self, pages: int, rest: int) -> None:
        self.model.tick()
        self._evict(pages * self.page + rest % self.page)

    def _evict(self, need: int) -> None:
        self._expire()
        model = self.model
        held, pinned = self.model.let_go()
        evictable = len(model.pages) - len(held)
        freed = self.cache.evict(need)
        assert freed == min(evictable, -(-need // self.page)) * self.page
        left = {
            prefix
            for prefix in model.pages
            if self.cache.peek(np.array(prefix[1], np.int64), prefix[0]) == len(prefix[1])
        }
        gone = set(model.pages) - left
        assert len(gone) * self.page == freed
        assert not gone & held
        loose = left - held - pinned
        if gone & pinned:
            assert not loose
        elif gone and loose:
            newest = max(model.pages[prefix].used for prefix in gone)
            assert newest <= min(model.pages[prefix].used for prefix in loose)
        model.check_lost_pins(held, bool(gone & pinned))
        for prefix in gone:
            del model.pages[prefix]
        self._forget_unlocked()
        self._check_watchers()

    def _forget_unlocked(self) -> None:
        self.model.handles = [
            handle for handle in self.model.handles if handle.locks or handle.node.alive
        ]

    def _expire(self) -> None:
        self.model.pins = [
            pin for pin in self.model.pins if pin.expires is None or pin.expires > self.time
        ]

    @rule(choices=key, namespace=name, ttl=st.none() | st.integers(1, 5))
    def pin(self, choices: list[int], namespace: str, ttl: int | None) -> None:
        self.model.tick()
        self._expire()
        model = self.model
        key = tokens_of(self.page, choices, 0)
        pin = self.cache.pin(np.array(key, np.int64), namespace, ttl)
        prefix = (namespace, key[: min(self.room, model.match(namespace, key))])
        assert pin.length == len(prefix[1])
        assert pin.active == bool(prefix[1])
        model.touch(prefix)
        if pin.active:
            model.pins.append(ModelPin(pin, prefix, None if ttl is None else self.time + ttl))
        while len(model.pinned()) * self.page > self.room:
            assert not model.pins.pop(0).pin.active
        assert all(pin.pin.active for pin in model.pins)

    @rule(which=st.integers(0, 99))
    def unpin(self, which: int) -> None:
        self.model.tick()
        if self.model.pins:
            pin = self.model.pins.pop(which % len(self.model.pins)).pin
            for _ in range(2):
                self.cache.unpin(pin)
            assert not pin.active

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.time += seconds

    @rule(choices=key, tail=tail, namespace=name)
    def watch(self, choices: list[int], tail: int, namespace: str) -> None:
        key = tokens_of(self.page, choices, tail)
        watcher = self.cache.watch(np.array(key, np.int64), namespace, key)
        assert watcher.owner is key
        self.watchers.append((watcher, namespace, key, self.model.match(namespace, key)))

    @rule(which=st.integers(0, 99))
    def unwatch(self, which: int) -> None:
        if self.watchers:
            watcher = self.watchers.pop(which % len(self.watchers))[0]
            for _ in range(2):
                self.cache.unwatch(watcher)
            assert not watcher.active

    @precondition(lambda self: self.watchers)
    @rule(which=st.integers(0, 99))
    def look(self, which: int) -> None:
        self._look(which % len(self.watchers))

    @rule(most=st.none() | st.integers(1, 3))
    def tell(self, most: int | None) -> None:
        """A few are told of; once all are, nobody believes what is no longer so."""
        watchers = {watcher: index for index, (watcher, *_) in enumerate(self.watchers)}
        moved = told(self.cache, most)
        for watcher in moved:
            index = watchers[watcher]
            _, namespace, key, _ = self.watchers[index]
            self.watchers[index] = (watcher, namespace, key, watcher.depth)
        if most is None or len(moved) < most:
            for watcher, namespace, key, believed in self.watchers:
                assert believed == watcher.found == self.model.match(namespace, key)
                assert not watcher.loose

    @rule(choices=key, tail=tail, namespace=name)
    def explain(self, choices: list[int], tail: int, namespace: str) -> None:
        key = tokens_of(self.page, choices, tail)
        model = self.model
        told = self.cache.explain(np.array(key, np.int64), namespace)
        prefix = (namespace, key[: model.match(namespace, key)])
        waiting = sum(model.pages[end].pending is not None for end in model.ends(prefix))
        assert told.asked == len(key)
        assert told.matched == len(prefix[1]) == told.committed + told.pending
        assert told.pending == waiting * self.page
        assert [run.start for run in told.runs] == [0, *[run.end for run in told.runs]][
            : len(told.runs)
        ]

    @rule()
    def stats(self) -> None:
        self.model.tick()
        self._expire()
        stats = self.cache.stats()
        assert stats.pins == len(self.model.pins)
        assert stats.locks == sum(
            handle.locks for handle in self.model.handles if not handle.discarded
        )
        assert stats.watchers == len(self.watchers)

    def teardown(self) -> None:
        """All is let go of: everything comes back."""
        self.model.now += 1
        for handle in self.model.handles:
            for _ in range(handle.locks):
                self.cache.unlock(handle.node)
        for watcher, *_ in self.watchers:
            self.cache.unwatch(watcher)
        self.cache.commit(self.step)
        self.cache.reset()
        self.cache.check_invariants()
        assert self.allocator.available == self.allocator.capacity
        assert self.cache.stats().namespaces == 0
        assert not self.cache.stats().pins


SETTINGS = settings(max_examples=80, stateful_step_count=60, deadline=None)


class Page1(CacheMachine):
    page = 1


class Page4(CacheMachine):
    page = 4


class Page16(CacheMachine):
    page = 16


TestPage1 = Page1.TestCase
TestPage4 = Page4.TestCase
TestPage16 = Page16.TestCase
TestPage1.settings = TestPage4.settings = TestPage16.settings = SETTINGS

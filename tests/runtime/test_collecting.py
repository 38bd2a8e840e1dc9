"""Cycles are looked for when nobody waits, and found then."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from espalier.runtime import collecting
from espalier.runtime.collecting import Collector
from tests.support import ROOT


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class _Pair:
    """Refers to itself."""

    def __init__(self) -> None:
        self.other = self


def _full() -> int:
    """Full collections so far."""
    count: int = gc.get_stats()[2]["collections"]
    return count


def _grow(objects: int) -> list[Any]:
    return [[] for _ in range(objects)]


def test_nothing_changes_before_the_start() -> None:
    before = gc.get_threshold(), gc.get_freeze_count(), _full()
    collector = Collector()
    collector.step()
    assert not collector.due
    assert (gc.get_threshold(), gc.get_freeze_count(), _full()) == before


def test_a_running_engine_is_not_interrupted_and_an_idle_one_collects() -> None:
    collector = Collector()
    collector.start()
    old, gone = _Pair(), weakref.ref(_Pair())
    held = weakref.ref(old)
    before = _full()
    kept = _grow(200_000)  # the interpreter's own rule would have looked at all of them
    collector.step()
    assert _full() == before
    assert collector.due
    assert held() is old
    collector.idle()
    assert _full() == before + 1
    assert gone() is None
    assert not collector.due
    assert gc.get_freeze_count() > len(kept)
    del old
    collector.idle()  # what was frozen is looked at again
    assert held() is None


def test_very_much_does_not_wait_for_a_quiet_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_MUCH", 3)
    collector = Collector()
    collector.start()
    gone = weakref.ref(_Pair())
    before = _full()
    kept = _grow(200_000)
    collector.step()
    assert _full() == before + 1
    assert gone() is None
    collector.step()
    assert _full() == before + 1
    assert len(kept) == 200_000


def test_what_is_let_go_under_load_without_end_is_found() -> None:
    """In a process that holds little else: what is frozen is counted one by one."""
    code = "from tests.runtime.test_collecting import under_load; under_load()"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, check=True, timeout=60)


def under_load() -> None:
    """A tenth of all that comes stays, until as much has come again."""
    collecting._MUCH = 2
    collector = Collector()
    collector.start()
    at_start = gc.get_freeze_count()
    full = _full()
    kept: list[list[Any]] = []
    for _ in range(36):
        kept = [*kept[-4:], [_Pair() for _ in range(20_000)]]
        collector.step()
        assert gc.get_freeze_count() < 3 * at_start + 4 * 5 * 20_000
    assert _full() > full

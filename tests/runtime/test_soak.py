"""The soak test in small; `make soak` runs 50,000 requests."""

from __future__ import annotations

import gc
import json
from collections import Counter
from pathlib import Path

import pytest

from espalier.benchmarks import soak
from espalier.benchmarks.soak import Soak, measure
from espalier.benchmarks.soak_cases import KINDS, Case, make_cases
from espalier.errors import EngineError, InvariantError
from espalier.grammar.matcher import Matcher
from espalier.radix_cache import Watcher
from espalier.runtime.progress import Progress
from espalier.runtime.request import Request
from espalier.runtime.sequence import Sequence
from espalier.runtime.step import Step

REQUESTS = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The folder and the size of the vocabulary."""
    folder = tmp_path_factory.mktemp("soak")
    return str(folder), soak.make_model(folder)


@pytest.fixture(scope="module")
def cases(model: tuple[str, int]) -> list[Case]:
    return make_cases(*model, 30, seed=1)


def _alive() -> Counter[str]:
    """What requests are made of inside an engine, and which must go with them."""
    gc.collect()
    kinds = (Sequence, Progress, Matcher, Watcher, Request, Step)
    return Counter(type(found).__name__ for found in gc.get_objects() if type(found) in kinds)


@pytest.mark.parametrize("overlap", [False, True])
def test_nothing_leaks_breaks_or_differs(
    model: tuple[str, int], cases: list[Case], overlap: bool
) -> None:
    before = _alive()
    load = Soak(model[0], cases, seed=3, overlap=overlap, check_every=5, seats=32)
    rows = {row.name: row.value for row in measure(load, REQUESTS)}
    assert rows["soak/requests"] >= REQUESTS
    assert rows["soak/wrong results"] == 0
    assert rows["soak/retracted"] > 0
    assert load.core.scheduler.cache.stats().evicted > load.capacity
    assert set(load.ends) >= {"stop", "length", "abort", "deadline"}
    assert set(load.kinds) == {*KINDS, "child"}
    del load
    assert not _alive() - before  # resident memory says nothing in so short a time


def test_a_wrong_result_is_found(model: tuple[str, int], cases: list[Case]) -> None:
    case = next(c for c in cases if c.kind == "greedy" and c.answers[0].finish_reason == "length")
    load = Soak(model[0], [case], seed=3, overlap=False, check_every=50)
    right = case.answers[0].token_ids
    case.answers[0].token_ids = [*right[:-1], right[-1] + 1]
    try:
        with pytest.raises(EngineError, match=r"are wrong, the first: greedy: another"):
            measure(load, 12)
    finally:
        case.answers[0].token_ids = right


def test_what_is_left_is_found(model: tuple[str, int], cases: list[Case]) -> None:
    load = Soak(model[0], cases[:3], seed=3, overlap=False, check_every=50)
    cache = load.core.scheduler.cache
    load.run(12)
    cache.lock(next(iter(cache._structure.roots.values())))
    with pytest.raises(InvariantError, match="left something behind") as caught:
        load.end()
    assert "locks" in str(caught.value)


def test_it_is_a_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    assert soak.main(["--requests", "40", "--cases", "12", "--json", str(file)]) == 0
    rows = {row["name"]: row["value"] for row in json.loads(file.read_text())}
    assert rows["soak/requests"] >= 40

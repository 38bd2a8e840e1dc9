"""The host tier in a running engine: evicted KV comes back, and is what it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch

from espalier.errors import InvalidRequestError, OutOfSlotsError
from espalier.radix_cache import Move
from espalier.runtime.engine import Engine
from espalier.runtime.kv_cache import HostKV, KVCache, KVLayout, LayerKV
from espalier.types import SamplingParams
from tests.cores import Harness
from tests.simulated_runner import FailingRunner

FIRST, SECOND = [1, 2, 3, 4] * 10, [4, 3, 2, 1] * 10


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("page_size", [1, 4])
def test_an_evicted_prefix_comes_back_without_being_computed(overlap: bool, page_size: int) -> None:
    harness = Harness(capacity=48, page_size=page_size, host=200, overlap=overlap)
    told = []
    for prompt in (FIRST, SECOND, FIRST, SECOND):
        request = harness.submit(prompt, 2)
        harness.run()
        told.append(harness.results[request])
    harness.check_results()
    assert [result.computed_tokens for result in told] == [40, 40, 1, 1]
    assert [result.cached_tokens for result in told][2:] == [39, 39]
    tier = harness.scheduler.tier
    assert tier is not None
    assert tier.loaded >= 60
    # What the host has is not copied again when the device gives it up for the second time.
    assert tier.saved <= 2 * 48
    harness.check_all_returned()


def test_without_a_host_tier_it_is_computed_again() -> None:
    harness = Harness(capacity=48)
    for prompt in (FIRST, SECOND, FIRST):
        request = harness.submit(prompt, 2)
        harness.run()
    assert harness.results[request].computed_tokens >= 33


def test_namespaces_do_not_meet_on_the_host() -> None:
    harness = Harness(capacity=48, host=200)
    for prompt, namespace in ((FIRST, "a"), (SECOND, "a"), (FIRST, "b")):
        request = harness.submit(prompt, 2, namespace=namespace)
        harness.run()
    assert harness.results[request].computed_tokens >= 33


def _one_seat(**options: Any) -> Harness:
    """Two prompts have been there, of which the host keeps all and the device nothing; a third
    decodes on the only seat."""
    harness = Harness(host=400, max_running=1, **options)
    for prompt in (FIRST, SECOND):
        harness.submit(prompt, 2)
        harness.run()
        harness.scheduler.cache.evict(80)
    harness.submit([1, 1, 2], 24)
    harness.core.step()
    return harness


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("page_size", [1, 4])
@pytest.mark.parametrize("eviction", ["density", "lru"])
def test_who_is_next_finds_its_prefix_on_the_device(
    overlap: bool, page_size: int, eviction: Literal["density", "lru"]
) -> None:
    harness = _one_seat(capacity=80, overlap=overlap, page_size=page_size, eviction=eviction)
    scheduler = harness.scheduler
    assert scheduler.cache.peek(np.array(FIRST)) <= 1
    request = harness.submit(FIRST, 2)
    for _ in range(4):
        harness.core.step()
        harness.scheduler.check_invariants()
    assert len(scheduler.waiting) == 1
    assert scheduler.cache.peek(np.array(FIRST)) == 40
    assert scheduler.prefetch.tokens >= 36
    harness.run()
    harness.check_results()
    told = harness.results[request]
    assert (told.cached_tokens, told.computed_tokens) == (39, 1)
    harness.check_all_returned()


def test_what_comes_ahead_comes_in_pieces() -> None:
    """No step copies more than it may run."""
    harness = _one_seat(capacity=80, step_tokens=8)
    harness.submit(FIRST, 2)
    told = [harness.scheduler.cache.peek(np.array(FIRST))]
    for _ in range(6):
        harness.core.step()
        told.append(harness.scheduler.cache.peek(np.array(FIRST)))
    assert told == [min(1 + 8 * step, 40) for step in range(7)]


def test_nothing_comes_ahead_where_it_would_not_fit() -> None:
    """Slots that the one who runs will want soon are not taken for it."""
    harness = _one_seat(capacity=48)
    harness.submit(FIRST, 8)
    for _ in range(4):
        harness.core.step()
    assert harness.scheduler.prefetch.tokens == 0
    harness.run()
    harness.check_results()


def test_what_waiting_requests_want_does_not_go_for_who_is_next() -> None:
    harness = _one_seat(capacity=80)
    harness.submit(SECOND, 2)
    for _ in range(2):
        harness.core.step()
    cache = harness.scheduler.cache
    assert cache.peek(np.array(SECOND)) == 40
    harness.submit(FIRST, 2, priority=5)
    for _ in range(4):
        harness.core.step()
    assert (cache.peek(np.array(SECOND)), cache.peek(np.array(FIRST))) == (40, 1)
    harness.run()
    harness.check_results()


@pytest.mark.parametrize("seed", range(6))
def test_loads_ahead_among_many(seed: int) -> None:
    """Few seats, little memory, shared headers, failed steps: all answers are right."""
    rng = np.random.default_rng(seed)
    harness = Harness(
        capacity=96,
        host=600,
        page_size=(1, 4)[seed % 2],
        max_running=2,
        step_tokens=(16, 64)[seed // 2 % 2],
        overlap=seed % 3 > 0,
        eviction="lru" if seed == 5 else "density",
        wrap=lambda runner: FailingRunner(runner, {"collect": {40 + seed}}),
    )
    heads = [rng.integers(0, 5, 30).tolist() for _ in range(5)]
    for _ in range(12):
        for _ in range(rng.integers(1, 6)):
            tail = rng.integers(0, 5, rng.integers(1, 12)).tolist()
            harness.submit([*heads[rng.integers(5)], *tail], int(rng.integers(1, 8)))
        for _ in range(rng.integers(1, 20)):
            harness.core.step()
            harness.scheduler.check_invariants()
    harness.run()
    assert harness.scheduler.prefetch.tokens > 0
    for request, result in harness.results.items():
        if result.error is None:
            assert result.token_ids == harness.expected(request)
    harness.check_all_returned()


@pytest.mark.parametrize("kind", ["launch", "sample", "collect"])
@pytest.mark.parametrize("overlap", [False, True])
def test_a_failed_step_leaves_nothing_on_the_host(kind: str, overlap: bool) -> None:
    """Nobody knows whether its copies were made."""
    for number in range(12):
        harness = Harness(
            capacity=48,
            host=200,
            overlap=overlap,
            wrap=lambda runner, at=number: FailingRunner(runner, {kind: {at}}),
        )
        for prompt in (FIRST, SECOND, FIRST, SECOND, FIRST):
            harness.submit(prompt, 2)
            harness.run()
        for request, result in harness.results.items():
            if result.error is None:
                assert result.token_ids == harness.expected(request)
        harness.check_all_returned()


def test_flushing_forgets_the_host_too(tiny_model: Callable[..., Any]) -> None:
    params = SamplingParams(max_tokens=4, ignore_eos=True)
    first, second = ([list(range(k, k + 120))] for k in (3, 60))
    with Engine(
        str(tiny_model("llama2").folder), inline=True, max_total_tokens=160, host_total_tokens=400
    ) as engine:
        [alone] = engine.generate(input_ids=first, sampling_params=params)
        engine.generate(input_ids=second, sampling_params=params)
        [back] = engine.generate(input_ids=first, sampling_params=params)
        assert back.token_ids == alone.token_ids
        assert (back.cached_tokens, back.computed_tokens) == (119, 1)
        stats = engine.stats()
        assert stats["host_capacity"] == 400
        assert stats["loaded_tokens"] >= 32
        assert stats["saved_tokens"] >= stats["loaded_tokens"]
        engine.generate(input_ids=second, sampling_params=params)
        told = engine.explain(first[0])
        assert told["matched"] + told["host"] == 120
        engine.flush_cache()
        assert engine.stats()["host_tokens"] == 0
        [again] = engine.generate(input_ids=first, sampling_params=params)
        assert (again.token_ids, again.computed_tokens) == (alone.token_ids, 120)
        assert "Host tier: 400 tokens" in engine.info.kv_cache
        engine.check_invariants()


def test_a_model_reads_what_came_ahead(tiny_model: Callable[..., Any]) -> None:
    """One seat: while one decodes, the next one's prefix comes back from the host."""
    params = SamplingParams(max_tokens=12, ignore_eos=True)
    prompts = [list(range(k, k + 120)) for k in (3, 40, 70)]
    folder = str(tiny_model("llama2").folder)
    with Engine(folder, inline=True, max_total_tokens=4096) as engine:
        alone = [engine.generate(input_ids=[p], sampling_params=params)[0] for p in prompts]
    with Engine(
        folder, inline=True, max_total_tokens=300, host_total_tokens=1000, max_running=1
    ) as engine:
        for prompt in prompts:
            engine.generate(input_ids=[prompt], sampling_params=params)
        results = engine.generate(input_ids=prompts, sampling_params=params)
        assert [result.token_ids for result in results] == [r.token_ids for r in alone]
        assert sum(result.computed_tokens for result in results) == 3
        assert engine.stats()["prefetched_tokens"] > 60
        engine.check_invariants()


def test_copies_bring_back_what_they_took() -> None:
    kv = KVCache(KVLayout((LayerKV(2, 6, 4), LayerKV(1, 8, 8))), 3000, dtype=torch.bfloat16)
    for rows in kv.rows:
        rows.copy_(torch.randn(rows.shape))
    host = HostKV(kv, 2500)
    rng = np.random.default_rng(0)
    device, there = rng.permutation(3000)[:2100], rng.permutation(2500)[:2100]
    before = [rows[device].clone() for rows in kv.rows]
    host.move(Move("save", device, there))
    target = rng.permutation(3000)[:2100]
    host.move(Move("load", target, there))
    for rows, kept in zip(kv.rows, before, strict=True):
        assert torch.equal(rows[target], kept)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"host_total_tokens": -16}, "host_total_tokens"),
        ({"host_total_tokens": 8, "page_size": 16}, "host_total_tokens"),
        ({"host_total_tokens": 64, "enable_radix_cache": False}, "host_total_tokens"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Engine("null", inline=True, **options)
    assert caught.value.where == where


def test_more_than_the_memory_names_the_value_to_use(tiny_model: Callable[..., Any]) -> None:
    with pytest.raises(OutOfSlotsError, match=r"host_total_tokens=\d+"):
        Engine(str(tiny_model("llama2").folder), inline=True, host_total_tokens=1 << 50)

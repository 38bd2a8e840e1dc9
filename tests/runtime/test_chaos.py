"""A thousand random events: submits, cancels, deadlines, too few slots, a thread that never rests.
Nothing leaks, nobody is forgotten, every answer is right."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from espalier.errors import EspalierError, InvariantError
from espalier.grammar import GrammarSpec
from espalier.runtime.engine import Engine
from espalier.runtime.model_runner import DelayedRunner, NullRunner
from espalier.runtime.sequence import Sequence
from espalier.types import Hold, SamplingParams
from tests.cores import Harness
from tests.simulated_runner import FailingRunner, answer
from tests.tiny_tokenizers import save

EVENTS = 1000
GRAMMARS = [GrammarSpec.choices(["yes", "no"]), GrammarSpec.regex("("), GrammarSpec.regex("a{3}")]


class Chaos:
    """Random events against a core, by one seed."""

    def __init__(self, harness: Harness, seed: int) -> None:
        self.harness = harness
        self.rng = random.Random(seed)
        self.stems = [[self.rng.randrange(5) for _ in range(20)] for _ in range(4)]

    def prompt(self) -> list[int]:
        rng = self.rng
        stem = rng.choice(self.stems)
        prompt = stem[: rng.randint(1, len(stem))]
        if rng.random() < 0.3:
            prompt = prompt + answer(prompt, rng.randint(1, 8), vocab=5)
        return prompt + [rng.randrange(5) for _ in range(rng.randint(0, 6))]

    def submit(self) -> None:
        rng = self.rng
        prompt = self.prompt()
        more: dict[str, Any] = {}
        kind = rng.random()
        if kind < 0.2:
            more["seed"] = rng.randint(1, 5)
        elif kind < 0.3 and len(prompt) > 1:
            more["score_from"] = rng.randint(1, len(prompt) - 1)
            more["generate"] = rng.random() < 0.5
        elif kind < 0.4:
            more["pooling"] = rng.choice(["mean", "last"])
        elif kind < 0.45:
            prompt = rng.choice([[], [99], [0] * 1000])
        if rng.random() < 0.3:
            tokens = rng.choice([None, 0, rng.randint(1, 20)])
            seconds = rng.choice([None, 5.0])
            more["holds"] = [Hold(rng.randint(1, 9), tokens, seconds) for _ in range(2)]
        if rng.random() < 0.25:
            more["deadline"] = rng.choice([0.5, 3.0, 30.0, 0.0])
        self.harness.submit(
            prompt,
            rng.choice([1, 3, 10, 30]),
            priority=rng.choice([0, 0, 1]),
            namespace=rng.choice(["", "", "b"]),
            **more,
        )

    def event(self) -> None:
        rng, harness = self.rng, self.harness
        kind = rng.random()
        if kind < 0.35:
            self.submit()
        elif kind < 0.45 and harness.requests:
            harness.core.cancel(rng.randint(1, len(harness.requests)))
        elif kind < 0.5:
            harness.clock.now += rng.choice([0.1, 1.0, 10.0])
        elif kind < 0.52:
            harness.scheduler.cache.reset()
        elif kind < 0.55:
            number = harness.core.pins.pin(_ids(self.prompt()), "", rng.choice([None, 2.0]))
            if rng.random() < 0.5:
                harness.core.pins.unpin(number)
        elif kind < 0.57:
            harness.core.pins.release([rng.randint(1, 9)])
        else:
            harness.step()


def _ids(tokens: list[int]) -> Any:
    return np.array(tokens, dtype=np.int64)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("capacity", [48, 400])
@pytest.mark.parametrize("page", [1, 4])
def test_a_thousand_events(overlap: bool, capacity: int, page: int) -> None:
    harness = Harness(
        capacity=capacity,
        page_size=page,
        overlap=overlap,
        step_tokens=16,
        headroom=2,
        max_running=6,
        age_bound=8,
    )
    chaos = Chaos(harness, seed=capacity + page + overlap)
    for _ in range(EVENTS):
        chaos.event()
    harness.run()
    assert set(harness.results) == set(harness.requests)
    reasons = Counter(result.finish_reason for result in harness.results.values())
    assert set(reasons) >= {"length", "abort", "deadline", "error"}
    assert harness.scheduler.counters.failed_steps == 0
    if capacity == 48:
        assert harness.scheduler.counters.retractions > 0
    harness.check_results()
    harness.check_all_returned()


@pytest.mark.parametrize("overlap", [False, True])
def test_a_thousand_events_with_failing_steps(
    overlap: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(100, "espalier.engine")
    rng = random.Random(5)
    at = {kind: set(rng.sample(range(600), 12)) for kind in ("launch", "sample", "collect")}
    harness = Harness(
        capacity=64,
        overlap=overlap,
        step_tokens=16,
        headroom=2,
        max_running=6,
        wrap=lambda runner: FailingRunner(runner, at),
    )
    chaos = Chaos(harness, seed=9)
    for _ in range(EVENTS):
        chaos.event()
    harness.run()
    assert set(harness.results) == set(harness.requests)
    assert harness.scheduler.counters.failed_steps > 5
    harness.check_results()
    harness.check_all_returned()


@pytest.mark.parametrize("overlap", [False, True])
def test_the_null_runner_under_the_same(overlap: bool) -> None:
    """What `model="null"` runs; every token is 1."""

    def null(runner: Any) -> Any:
        return DelayedRunner(NullRunner()) if overlap else NullRunner()

    harness = Harness(
        capacity=48, overlap=overlap, step_tokens=16, headroom=2, max_running=6, wrap=null
    )
    chaos = Chaos(harness, seed=3)
    for _ in range(EVENTS):
        chaos.event()
    harness.run()
    assert set(harness.results) == set(harness.requests)
    assert all(set(r.token_ids) <= {1} for r in harness.results.values())
    harness.check_all_returned()


def test_a_request_that_is_nowhere_is_noticed() -> None:
    """C1 of core.py, both ways."""
    harness = Harness(max_running=1)
    harness.submit([1, 2], 5)
    harness.submit([3, 4], 5)
    harness.step()
    harness.core.check_invariants()
    lost = harness.core._live.pop(2)
    with pytest.raises(InvariantError, match=r"^C1: .*without a request: \[2\]"):
        harness.core.check_invariants()
    harness.core._live[2] = lost
    harness.scheduler.waiting.remove(lost.seq)
    with pytest.raises(InvariantError, match=r"^C1: .*nowhere: \[2\]"):
        harness.core.check_invariants()
    assert isinstance(lost.seq, Sequence)


# -- the engine in its own process -----------------------------------------------------------------


def _spin(stop: threading.Event) -> None:
    """A user's thread that holds the interpreter whenever it can."""
    number = 0
    while not stop.is_set():
        for _ in range(1000):
            number = (number * 31 + 7) % 1_000_003


@pytest.mark.parametrize("inline", [False, True])
def test_the_whole_engine(inline: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A thousand asks in a pool of 256 slots, beside a thread that never rests."""
    folder = save(tmp_path_factory.mktemp("chaos"), eos_token="<|end|>")
    options: dict[str, Any] = {"tokenizer": str(folder), "max_total_tokens": 256}
    with Engine("null", inline=inline, overlap=inline, max_running=12, **options) as engine:
        stop = threading.Event()
        spinner = threading.Thread(target=_spin, args=(stop,))
        spinner.start()
        try:
            ends = asyncio.run(_asks(engine, random.Random(0), EVENTS))
        finally:
            stop.set()
            spinner.join()
        _settle(engine)
        stats = engine.stats()
        assert sum(ends.values()) == EVENTS
        assert set(ends) >= {"length", "stop", "cancelled", "InvalidRequestError", "GrammarError"}
        assert stats["running"] == stats["waiting"] == stats["failed_steps"] == 0
        assert stats["free_slots"] + stats["evictable_slots"] == 256
        engine.check_invariants()
        engine.flush_cache()
        assert engine.stats()["free_slots"] == 256


def _settle(engine: Engine) -> None:
    for _ in range(1000):
        stats = engine.stats()
        if not stats["running"] and not stats["waiting"]:
            return
        if engine.link.inline:
            engine.link.drive()
        time.sleep(0.01)


async def _asks(engine: Engine, rng: random.Random, count: int) -> Counter[str]:
    """`count` asks, at most 40 at a time; how each ended."""
    ends: Counter[str] = Counter()
    places = asyncio.Semaphore(40)

    async def one(ask: Callable[[], Any], patience: float | None) -> None:
        async with places:
            try:
                ends[await asyncio.wait_for(ask(), patience)] += 1
            except TimeoutError:
                ends["cancelled"] += 1
            except EspalierError as error:
                ends[type(error).__name__] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one(*_ask(engine, rng)))
    return ends


def _ask(engine: Engine, rng: random.Random) -> tuple[Callable[[], Any], float | None]:
    """One ask of a random kind, and how long its asker waits."""
    prompt = [rng.randrange(4, 9) for _ in range(rng.randint(1, 40))]
    params = SamplingParams(max_tokens=rng.choice([1, 5, 60]))
    more: dict[str, Any] = {"priority": rng.choice([0, 0, 2]), "namespace": rng.choice(["", "b"])}
    kind = rng.random()
    patience = None
    if kind < 0.1:
        prompt = rng.choice([[], [10**6], [4] * 500])
    elif kind < 0.2:
        params = SamplingParams(max_tokens=215)
        patience = rng.choice([0.0, 0.002, 0.02])
    elif kind < 0.3:
        more["deadline"] = rng.choice([1e-6, 0.005, 30.0])
    elif kind < 0.4:
        more["grammar"] = rng.choice(GRAMMARS)

    async def generate() -> str:
        [result] = await engine.agenerate(input_ids=[prompt], sampling_params=params, **more)
        return result.finish_reason

    async def stream() -> str:
        leave = rng.random() < 0.3
        pieces = engine.astream(input_ids=prompt, sampling_params=params, **more)
        reason = "left"
        async for chunk in pieces:
            if chunk.result is not None:
                reason = chunk.result.finish_reason
            elif leave:
                break
        await pieces.aclose()  # type: ignore[attr-defined]
        return reason

    return (stream if 0.4 < kind < 0.6 else generate), patience

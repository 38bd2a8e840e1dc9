"""A prompt of 100,000 tokens among requests that decode: they go on, and others still get in."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime.client import InlineLink
from espalier.runtime.core import EngineCore
from espalier.runtime.engine import Engine
from espalier.runtime.model_runner import NullRunner
from espalier.runtime.options import SchedulerConfig
from espalier.runtime.request import Request
from espalier.runtime.scheduler import Scheduler
from espalier.types import Chunk, SamplingParams

LONG = 100_000


class Line:
    """A core around the null runner, and the CPU time of each of its steps."""

    def __init__(self, **config: Any) -> None:
        self.scheduler = Scheduler(SchedulerConfig(capacity=1 << 18, **config))
        self.chunks: list[Chunk] = []
        self.core = EngineCore(
            self.scheduler,
            NullRunner(),
            self.chunks.append,
            vocab_size=1 << 20,
            max_context=1 << 18,
        )
        self.seconds: list[float] = []
        self.rng = np.random.default_rng(0)

    def submit(self, number: int, length: int, max_tokens: int) -> None:
        prompt = self.rng.integers(0, 1 << 20, length).tolist()
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        self.core.submit(Request(id=number, prompt=prompt, params=params, seed=0))

    def step(self) -> None:
        begin = time.thread_time()
        self.core.step()
        self.seconds.append(time.thread_time() - begin)

    def until_prefilled(self, number: int) -> None:
        """Steps until the request has its first token."""
        seq = self.core._live[number].seq
        while not seq.generated:
            self.step()


def _alone() -> list[float]:
    line = Line()
    line.submit(1, LONG, 4)
    line.until_prefilled(1)
    return line.seconds


def _among_others() -> list[float]:
    """A hundred quiet steps, then those of the long prompt."""
    line = Line()
    for number in range(16):
        line.submit(number, 50, 1000)
    for _ in range(100):
        line.step()
    line.submit(99, LONG, 4)
    before = [line.core._live[number].seq.known for number in range(16)]
    line.until_prefilled(99)
    after = [line.core._live[number].seq.known for number in range(16)]
    steps = len(line.seconds) - 100
    assert steps >= LONG // 2048
    assert [b - a for a, b in zip(before, after, strict=True)] == [steps] * 16  # not one waited
    return line.seconds


def test_decode_rows_flow_while_a_long_prompt_prefills() -> None:
    """CPU time of each step, the least of five runs that are alike: others use this machine."""
    chunks = np.min([_alone() for _ in range(5)], axis=0)
    seconds = np.min([_among_others() for _ in range(5)], axis=0)
    quiet, loud = np.quantile(seconds[20:100], 0.99), seconds[100:]
    own = np.pad(chunks, (0, len(loud) - len(chunks)), "edge")  # 16 rows fewer fit into each
    assert np.quantile((loud - quiet) / own, 0.99) <= 3


def test_a_chunk_among_decodes_can_be_made_smaller() -> None:
    line = Line(chunk_tokens=256)
    line.submit(1, 50, 1000)
    line.step()
    line.submit(2, 5000, 4)
    step = line.scheduler.plan()
    assert step is not None
    assert len(step.plan.positions) == 1 + 256
    line.scheduler.retire(step)
    idle = Line(chunk_tokens=256)
    idle.submit(2, 5000, 4)
    step = idle.scheduler.plan()
    assert step is not None
    assert len(step.plan.positions) == 2048


def test_a_long_prompt_leaves_half_to_others() -> None:
    line = Line()
    line.submit(1, LONG, 4)
    line.step()
    line.submit(2, 700, 4)
    line.submit(3, 800, 4)
    line.step()
    running = line.scheduler.running
    assert [running[number].pos for number in (1, 2, 3)] == [2048 + 1024, 700, 1024 - 700]
    line.step()
    assert [running[number].generated for number in (1, 2, 3)] == [0, 2, 1]


def test_several_long_prompts_leave_half_to_others() -> None:
    """A short one that comes last is let in at once, and the first of the long ones goes first."""
    line = Line()
    for number in (1, 2, 3):
        line.submit(number, 30_000, 4)
        line.step()
    line.submit(4, 50, 4)
    line.step()
    running = line.scheduler.running
    assert running[4].generated == 1
    assert [running[number].pos for number in (2, 3)] == [1024, 1024]
    assert running[1].pos == 2048 + 1024 + 1024 + 2048 - 50


def test_alone_a_long_prompt_takes_all_of_a_step() -> None:
    line = Line()
    line.submit(1, LONG, 4)
    line.until_prefilled(1)
    assert len(line.seconds) == -(-LONG // 2048)


def test_the_engine_takes_the_options() -> None:
    with Engine(
        "null",
        inline=True,
        max_total_tokens=4096,
        chunk_tokens=100,
        priority_ageing=3.0,
        namespace_shares={"a": 2.0},
        eviction="lru",
    ) as engine:
        assert isinstance(engine.link, InlineLink)
        config = engine.link.core.scheduler.config
        assert (config.chunk_tokens, config.ageing, config.shares) == (100, 3.0, {"a": 2.0})
        assert config.eviction == "lru"


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"chunk_tokens": 0}, "chunk_tokens"),
        ({"priority_ageing": 0.0}, "priority_ageing"),
        ({"namespace_shares": {"a": -1.0}}, "namespace_shares"),
        ({"eviction": "lfu"}, "eviction"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequestError, match=where):
        Engine("null", inline=True, **options)

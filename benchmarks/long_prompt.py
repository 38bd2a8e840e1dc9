"""What a prompt of 100,000 tokens does to 16 requests that decode, and who waits longest.

The engine's own steps, their CPU time measured, before a device that is modelled (device.py).

Inter-token latency is the time between two tokens of a request that decodes. `rise` is its p99
while the prompt runs, less its p99 before, over the p99 of the same prompt's chunks alone. `passed
over` counts how many were let in before the one that had waited longest, where everybody else has
a longer prefix cached and waiting does not raise priority.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import NamedTuple

import numpy as np

from ..runtime.core import EngineCore
from ..runtime.options import SchedulerConfig
from ..runtime.request import Request
from ..runtime.scheduler import Scheduler
from ..types import Chunk, SamplingParams
from .device import Clock, Device
from .report import Row

VOCAB = 1 << 17


class Latency(NamedTuple):
    """p99 in seconds: between tokens before a prompt and while it runs, and of its chunks alone."""

    before: float
    during: float
    chunk: float

    @property
    def rise(self) -> float:
        """What the prompt adds, in chunks."""
        return (self.during - self.before) / self.chunk


class Line:
    """A core before the modelled device."""

    def __init__(self, max_running: int = 32, ageing: float = 10.0) -> None:
        self.clock = Clock()
        config = SchedulerConfig(capacity=1 << 18, max_running=max_running, ageing=ageing)
        self.scheduler = Scheduler(config, clock=self.clock)
        self.core = EngineCore(
            self.scheduler,
            Device(self.clock, token=100),
            deque[Chunk](maxlen=0).append,
            vocab_size=VOCAB,
            max_context=1 << 18,
            clock=self.clock,
        )
        self._rng = random.Random(0)
        self._ids = 0
        self.watch([])

    def submit(self, length: int, max_tokens: int, head: list[int] | None = None) -> int:
        """A request of `length` random tokens after `head`; returns its id."""
        self._ids += 1
        prompt = [*(head or []), *(self._rng.randrange(VOCAB) for _ in range(length))]
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        self.core.submit(Request(id=self._ids, prompt=prompt, params=params, seed=0))
        return self._ids

    def step(self) -> float:
        """One step; returns how long it took."""
        before, begin = self.clock.now, time.process_time()
        self.core.step()
        self.clock.now += time.process_time() - begin
        for number, (known, at) in self._watched.items():
            seq = self.scheduler.running[number]
            if seq.known > known:
                self.gaps.append(self.clock.now - at)
                self._watched[number] = seq.known, self.clock.now
        return self.clock.now - before

    def prefill(self, number: int) -> list[float]:
        """Steps until the request has its first token; how long each took."""
        took = []
        while (seq := self.scheduler.running.get(number)) is None or not seq.generated:
            took.append(self.step())
        return took

    def watch(self, numbers: list[int]) -> None:
        """From now on `gaps` are the seconds between tokens of these requests."""
        running, now = self.scheduler.running, self.clock.now
        self._watched = {number: (running[number].known, now) for number in numbers}
        self.gaps: list[float] = []


def latency(length: int = 100_000, decoding: int = 16, quiet: int = 100) -> Latency:
    """A prompt among requests that decode, and its chunks alone."""
    alone = Line()
    chunks = alone.prefill(alone.submit(length, 4))
    line = Line()
    numbers = [line.submit(50, 10 * length) for _ in range(decoding)]
    for number in numbers:
        line.prefill(number)
    line.watch(numbers)
    for _ in range(quiet):
        line.step()
    before = line.gaps
    line.watch(numbers)
    line.prefill(line.submit(length, 4))
    return Latency(*(float(np.quantile(took, 0.99)) for took in (before, line.gaps, chunks)))


def passed_over(waiting: int = 64, seats: int = 4, steps: int = 2_000) -> int:
    """How many were let in before the one that had waited longest, at most."""
    line = Line(max_running=seats, ageing=1e9)
    head = [7] * 200
    line.submit(4, 2, head)
    line.step()
    line.step()
    line.submit(20, 2)  # nobody shares anything with it
    most = count = 0
    queue = line.scheduler.waiting
    for _ in range(steps):
        while len(queue) < waiting:
            line.submit(4, 2, head)
        order = [seq.id for seq in queue]
        here = set(line.scheduler.running)
        line.step()
        for number in line.scheduler.running:
            if number not in here:
                count = 0 if order[0] == number else count + 1
                order.remove(number)
                most = max(most, count)
    return most


def rows(length: int = 100_000, decoding: int = 16) -> list[Row]:
    """All figures."""
    took = latency(length, decoding)
    name = f"scheduler/a prompt of {length:,} tokens among {decoding} that decode"
    made = {
        "p99 between tokens before": (1000 * took.before, "ms, modelled device"),
        "p99 between tokens meanwhile": (1000 * took.during, "ms, modelled device"),
        "p99 of its chunks alone": (1000 * took.chunk, "ms, modelled device"),
        "rise of the p99": (took.rise, "of a chunk's time"),
    }
    found = [
        Row(name=f"{name}: {what}", value=round(value, 3), unit=unit)
        for what, (value, unit) in made.items()
    ]
    found.append(
        Row(
            name="scheduler/the one that waits longest is passed over",
            value=passed_over(),
            unit="times at most",
        )
    )
    return found

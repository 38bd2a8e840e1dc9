"""What a step costs beside its model: CPU time of the engine's core around a null forward.

`plain` is plan, launch, collect and commit. `text` adds to each request a stop string, detokenising
and streaming, with the stream's messages encoded for the wire. `waiting` is a step of 16 requests
that end after 8 tokens each while others wait to come in: half of them share long headers.
`loud` is when everybody who waits gets closer at once: the step that brings a header they all
share, or the median of the 20 after it, whichever is longer.
Last, a prompt of 100,000 tokens among requests that decode, before a modelled device, and who waits
longest (long_prompt.py).
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence

from ..runtime.core import EngineCore
from ..runtime.locate import resolve_folder
from ..runtime.model_runner import NullRunner
from ..runtime.options import SchedulerConfig
from ..runtime.protocol import Outputs, frame
from ..runtime.request import Request
from ..runtime.scheduler import Scheduler
from ..runtime.tokenizer import Tokenizer
from ..types import Chunk, SamplingParams
from . import long_prompt
from .plot import growth
from .radix import Rows
from .report import Row, finish, parser

BATCHES = (1, 16, 64, 256)
WAITING = (100, 1_000, 10_000, 100_000)
VOCAB = 4096


class Bench:
    """A core, and the CPU microseconds of its steps."""

    def __init__(self, max_running: int, tokenizer: Tokenizer | None = None) -> None:
        self.scheduler = Scheduler(SchedulerConfig(capacity=1 << 21, max_running=max_running))
        self._sent: list[Chunk] = []
        self.core = EngineCore(
            self.scheduler,
            NullRunner(token=100),
            self._sent.append,
            tokenizer=tokenizer,
            vocab_size=VOCAB,
            max_context=1 << 20,
        )
        self._ids = 0
        self.rng = random.Random(0)

    def submit(self, prompt: list[int], max_tokens: int, *, text: bool = False) -> None:
        self._ids += 1
        stop = ("\n\nQuestion:", "</answer>") if text else ()
        params = SamplingParams(max_tokens=max_tokens, stop=stop, ignore_eos=True)
        self.core.submit(Request(id=self._ids, prompt=prompt, params=params, seed=0, stream=text))

    def prompt(self, length: int) -> list[int]:
        return [self.rng.randrange(3, VOCAB) for _ in range(length)]

    def step(self) -> float:
        begin = time.process_time_ns()
        self.core.step()
        if self._sent:
            frame(Outputs(self._sent))
            self._sent.clear()
        return (time.process_time_ns() - begin) / 1000

    def steps(self, count: int) -> list[float]:
        return [self.step() for _ in range(count)]


def decoding(batch: int, tokenizer: Tokenizer | None = None, steps: int = 300) -> float:
    """Median microseconds of a step in which `batch` requests decode."""
    bench = Bench(batch, tokenizer)
    for _ in range(batch):
        bench.submit(bench.prompt(64), 10_000, text=tokenizer is not None)
    bench.steps(batch * 64 // 2048 + 20)
    gc.collect()
    gc.freeze()
    spent = bench.steps(steps)
    gc.unfreeze()
    return statistics.median(spent)


def queueing(waiting: int, steps: int = 400) -> tuple[float, float]:
    """Median and mean microseconds of a step of 16 short requests beside `waiting` others."""
    bench = Bench(16)
    headers = [bench.prompt(48) for _ in range(20)]
    for number in range(waiting + 16 + steps * 2):
        head = headers[number % 20] if number % 2 else []
        bench.submit([*head, *bench.prompt(16)], 8)
    bench.steps(50)
    gc.collect()
    gc.freeze()
    spent = bench.steps(steps)
    gc.unfreeze()
    return statistics.median(spent), statistics.fmean(spent)


def header_for_all(waiting: int) -> float:
    """Microseconds of the step that brings the header that all who wait begin with, or of those
    after it, in which they move on."""
    bench = Bench(1)
    head = bench.prompt(64)
    for _ in range(waiting + 1):
        bench.submit([*head, *bench.prompt(4)], 1)
    gc.collect()
    gc.freeze()
    spent = max(bench.step(), statistics.median(bench.steps(20)))
    gc.unfreeze()
    return spent


def measure(
    tokenizer: Tokenizer | None = None,
    batches: Sequence[int] = BATCHES,
    waiting: Sequence[int] = WAITING,
    say: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """All rows, slopes last."""
    rows = Rows()
    for batch in batches:
        rows.add("scheduler/step, plain, by batch", batch, decoding(batch))
        if tokenizer is not None:
            rows.add("scheduler/step, text, by batch", batch, decoding(batch, tokenizer, 100))
        say(f"batch {batch} done")
    for count in waiting:
        median, mean = queueing(count)
        rows.add("scheduler/step beside requests waiting", count, median)
        rows.add("scheduler/the same, mean", count, mean)
        rows.add("scheduler/a header that all who wait share enters", count, header_for_all(count))
        say(f"{count} waiting done")
    return rows.rows + rows.slopes()


def plot(rows: Sequence[Row]) -> str:
    """The rows' growth as SVG."""
    return growth("One step's CPU time, null model", "requests", rows)


def main(argv: Sequence[str]) -> int:
    """`espalier bench scheduler`."""
    options = parser("scheduler", __doc__ or "", plot="a plot of the growth")
    args = options.parse_args(argv)
    tokenizer = Tokenizer.from_folder(resolve_folder("sprig"))
    rows = measure(tokenizer, say=lambda text: print(text, flush=True)) + long_prompt.rows()
    if args.svg is not None:
        args.svg.write_text(plot(rows))
    finish("scheduler", argv, args.json, rows)
    return 0

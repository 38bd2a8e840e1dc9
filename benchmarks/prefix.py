"""How much of the shared prefixes is really shared: prompt tokens computed, over the optimum.

The workloads' optimum is exact (every distinct prefix position once, and the last token of each
exact repeat). Each wave of a workload is sent all at once in a shuffled order, or eight requests at
a time in the order given; the next wave waits for it. `no sharing` is what an engine without a
prefix cache computes.

With a capacity of half or a quarter of the distinct tokens (but of the longest request at least),
the measure is Belady's rule, which knows the future, on the prompts in their given order; LRU in
that order stands beside it. Slots of running requests count against the capacity. With `--host`,
a bounded engine has a host tier with room for everything: the rows tell the tokens computed and the
CPU seconds, each over those of the same engine without one.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InvalidRequestError, InvariantError
from ..types import SamplingParams
from . import belady
from .report import Row, check_only, data_file, finish, load_module, parser

if TYPE_CHECKING:
    from ..runtime.engine import Engine

Prompt = tuple[int, ...]
Workload = list[list[Prompt]]
ARRIVALS = ("all", "eight")
SCALES = {"null": 1.0, "sprig": 0.25}
SHARES = {"half": 0.5, "quarter": 0.25}
NULL_CAPACITY = 1 << 21


def main(argv: Sequence[str]) -> int:
    """`espalier bench prefix`."""
    options = parser("prefix", __doc__ or "")
    options.add_argument(
        "--model", action="append", help="null, sprig, a folder (default: null and sprig)"
    )
    options.add_argument("--scale", type=float, help="of the prompts' lengths (sprig: 0.25)")
    options.add_argument("--only", action="append", metavar="WORKLOAD")
    options.add_argument("--arrival", action="append", choices=ARRIVALS)
    options.add_argument(
        "--capacity",
        action="append",
        choices=["unbounded", *SHARES],
        help="default: all for null, unbounded for others",
    )
    options.add_argument(
        "--host", action="store_true", help="bounded, with and without a host tier"
    )
    options.add_argument("--page-size", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args(argv)
    runs = _runs(args)
    rows: list[Row] = []
    for model, capacity in runs:
        scale = SCALES.get(model, 1.0) if args.scale is None else args.scale
        for arrival in args.arrival or ARRIVALS:
            asked = Asked(model, scale, arrival, args.only, args.page_size, args.seed)
            made = measure(asked)
            if capacity in SHARES:
                compared = measure_host if args.host else measure_bounded
                made = compared(asked, capacity)
            for row in made:
                rows.append(row)
                print(f"{row.name}: {row.value:.3f} {row.unit}", flush=True)
    finish("prefix", argv, args.json, rows)
    return 0


def _runs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Each model and capacity that is asked for. Raises InvalidRequestError where options name what
    is not there, or leave nothing."""
    if args.scale is not None and not 0 < args.scale < math.inf:
        raise InvalidRequestError(expected="a number above 0", got=str(args.scale), where="--scale")
    runs = []
    for model in args.model or ["null", "sprig"]:
        default = ["unbounded", *SHARES] if model == "null" else ["unbounded"]
        for capacity in args.capacity or default:
            if capacity in SHARES or not args.host:  # unbounded, nothing is evicted
                runs.append((model, capacity))
    if not runs:
        raise InvalidRequestError(
            expected=" or ".join(f"--capacity {share}" for share in SHARES) + " beside it",
            where="--host",
        )
    if args.only is not None:
        yardstick = load_module(data_file("yardsticks/prefix_workloads.py"))
        check_only(args.only, [*yardstick.workloads(scale=0.01)])
    return runs


class Asked(NamedTuple):
    """What a run of the benchmark is asked for. scale: of the prompts' lengths."""

    model: str
    scale: float
    arrival: str
    only: Sequence[str] | None
    page: int
    seed: int

    def workloads(self, vocab: int) -> Iterator[tuple[str, Workload]]:
        """Those asked for, by name, of ids below `vocab`."""
        yardstick = load_module(data_file("yardsticks/prefix_workloads.py"))
        made = yardstick.workloads(seed=self.seed, vocab=vocab, scale=self.scale)
        for name, workload in made.items():
            if not self.only or name in self.only:
                yield name, workload

    def row(self, workload: str, *more: str, **figures: Any) -> Row:
        """A row named after the run."""
        name = Path(self.model).name
        return Row(name="/".join(("prefix", name, self.arrival, workload, *more)), **figures)


def measure(asked: Asked) -> Iterator[Row]:
    """One row per workload: computed / optimum, unbounded, in a cache flushed before each."""
    from ..runtime.engine import Engine

    yardstick = load_module(data_file("yardsticks/prefix_workloads.py"))
    capacity = NULL_CAPACITY if asked.model == "null" else None
    with Engine(model=asked.model, page_size=asked.page, max_total_tokens=capacity) as engine:
        for name, workload in asked.workloads(min(30_000, engine.info.vocab_size)):
            total, optimum = yardstick.optimum(workload)
            computed = run(engine, workload, asked.arrival, asked.seed)
            yield asked.row(
                name,
                value=computed / optimum,
                unit="computed/optimal",
                peers={"no sharing": total / optimum},
            )


def measure_bounded(asked: Asked, capacity: str) -> Iterator[Row]:
    """One row per workload: computed / what Belady computes, in an engine of so many slots."""
    for name, workload, prompts, slots in bounded(asked, capacity):
        best = belady.computed(prompts, slots, "belady")
        computed, _ = run_bounded(asked, workload, slots)
        yield asked.row(
            name,
            capacity,
            value=computed / best,
            unit="computed/Belady",
            peers={"LRU": belady.computed(prompts, slots, "lru") / best},
        )


def measure_host(asked: Asked, capacity: str) -> Iterator[Row]:
    """Two rows per workload: tokens computed, and CPU seconds, with a host tier over without."""
    for name, workload, prompts, slots in bounded(asked, capacity):
        room = belady.distinct(prompts) + 2 * len(prompts) * asked.page
        tiered = run_bounded(asked, workload, slots, room - room % asked.page)
        without = run_bounded(asked, workload, slots)
        for what, ours, other in zip(("computed", "CPU seconds"), tiered, without, strict=True):
            yield asked.row(
                name,
                capacity,
                "host",
                what,
                value=ours / other,
                unit=f"{what} with/without host tier",
            )


def bounded(asked: Asked, capacity: str) -> Iterator[tuple[str, Workload, list[Prompt], int]]:
    """Name, workload, all its prompts in order, and the slots that are the capacity's share."""
    for name, workload in asked.workloads(vocabulary(asked.model)):
        prompts = [prompt for wave in workload for prompt in wave]
        share = int(SHARES[capacity] * belady.distinct(prompts))
        slots = max(share, *map(len, prompts))
        yield name, workload, prompts, -(-slots // asked.page) * asked.page


def vocabulary(model: str) -> int:
    """Token ids that prompts for the model may have."""
    from ..runtime.engine import Engine

    if model == "null":
        return 30_000
    with Engine(model=model, inline=True, device="cpu", max_total_tokens=1024) as engine:
        return min(30_000, engine.info.vocab_size)


def run_bounded(asked: Asked, workload: Workload, slots: int, host: int = 0) -> tuple[float, float]:
    """Prompt tokens computed, and CPU seconds, in an engine of so many slots of each kind."""
    from ..runtime.engine import Engine

    with Engine(
        model=asked.model,
        inline=True,
        page_size=asked.page,
        max_total_tokens=slots,
        host_total_tokens=host,
        device="cpu",
    ) as engine:
        started = time.process_time()
        computed = run(engine, workload, asked.arrival, asked.seed)
        return computed, time.process_time() - started


def run(engine: Engine, workload: Workload, arrival: str, seed: int) -> int:
    """Prompt tokens computed, with what retract computed again."""
    engine.flush_cache()
    shuffled = random.Random(seed)
    params = SamplingParams(max_tokens=1, ignore_eos=True)
    before = engine.stats()["recomputed_tokens"]
    computed = 0
    for wave in workload:
        prompts = [list(prompt) for prompt in wave]
        if arrival == "all":
            shuffled.shuffle(prompts)
        size = len(prompts) if arrival == "all" else 8
        for start in range(0, len(prompts), size):
            results = engine.generate(
                input_ids=prompts[start : start + size], sampling_params=params
            )
            for result in results:
                parts = result.cached_tokens + result.computed_tokens + result.shared_tokens
                if parts != result.prompt_tokens:
                    raise InvariantError(f"P5: {parts} of {result.prompt_tokens} tokens told")
                computed += result.computed_tokens
    again: int = engine.stats()["recomputed_tokens"] - before
    return computed + again
